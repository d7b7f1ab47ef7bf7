"""The serving question as numbers: what the model, the dominance rules and the decomposition all work on.

Sizes: B buckets and P pools of one service, O offers. A *pool* is one layout on one market class (spot or not);
its replicas may run on several offers. An *offer* is an instance type in a region on a market.

A pool is unified, or it does one phase of requests: prefill pools and decode pools of one *group* may hand KV caches to
each other, so that of every bucket as much is decoded in a group as its prefill pools read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planner.program import Bools, Floats, Ints
from planner.serving.spec import Objective

UNIFIED, PREFILL, DECODE = 0, 1, 2


@dataclass(frozen=True)
class ServiceNumbers:
    """One service. ``capacity[p, b]``: requests/s of bucket b alone that one replica of pool p sustains; 0: cannot."""

    name: str
    rate: Floats  # [B] requests/s
    capacity: Floats  # [P, B]
    gpus: Ints  # [P] GPUs of one replica
    active_w: Floats  # [P] power of one busy replica above its idle power
    spot: Bools  # [P]
    hosts: Bools  # [P, O] pool p may run on offer o
    max_utilisation: float = 1.0
    min_replicas: int = 0
    spare_replicas: int = 0
    max_spot_fraction: float = 1.0
    role: Ints | None = None  # [P] UNIFIED, PREFILL or DECODE; None: all unified
    group: Ints | None = None  # [P] pools between which KV caches can move; -1 for unified ones

    @property
    def roles(self) -> Ints:
        """[P] role of each pool."""
        return np.zeros(self.gpus.size, np.int64) if self.role is None else self.role

    @property
    def groups(self) -> Ints:
        """[P] group of each pool."""
        return np.full(self.gpus.size, -1) if self.group is None else self.group

    @property
    def admits(self) -> Bools:
        """[P] pools that requests arrive at: all but those that decode only."""
        return np.asarray(self.roles != DECODE)

    @property
    def phases(self) -> tuple[tuple[Ints, Ints], ...]:
        """(prefill pools, decode pools) of each group."""
        return tuple(
            (np.flatnonzero((self.groups == g) & (self.roles == PREFILL)),
             np.flatnonzero((self.groups == g) & (self.roles == DECODE)))
            for g in np.unique(self.groups[self.groups >= 0])
        )  # fmt: skip

    @property
    def least_load(self) -> Floats:
        """[B] fewest replicas that each bucket alone would keep busy; inf where nothing can serve it."""
        load = np.where(self.hosted[:, None], self.load, np.inf)
        least = load[self.roles == UNIFIED].min(axis=0, initial=np.inf)
        for prefill, decode in self.phases:
            least = np.minimum(
                least, load[prefill].min(axis=0, initial=np.inf) + load[decode].min(axis=0, initial=np.inf)
            )
        return np.asarray(least)

    @property
    def hosted(self) -> Bools:
        """[P] pools that may run somewhere."""
        return np.asarray(self.hosts.any(axis=1), dtype=bool)

    @property
    def load(self) -> Floats:
        """[P, B] replicas that bucket b would keep busy on pool p alone; inf where it cannot be served."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.capacity > 0, self.rate / (self.capacity * self.max_utilisation), np.inf)


@dataclass(frozen=True)
class OfferNumbers:
    """What can be rented, O of them."""

    usd_per_hour: Floats
    gpus: Ints
    idle_w: Floats  # of the whole instance, host included
    g_co2_per_kwh: Floats
    gpu_type: Ints  # index of the GPU type


@dataclass(frozen=True)
class Cap:
    """``weight @ instances <= limit``; ``path`` names the limit in the spec."""

    path: str
    weight: Floats  # [O]
    limit: float


@dataclass(frozen=True)
class Problem:
    """Several services sharing offers and limits.

    Minimises ``per_instance`` for every rented instance plus ``per_active_w`` for every watt that
    busy replicas draw on an offer; or maximises the traffic served, when ``goodput``.
    """

    services: tuple[ServiceNumbers, ...]
    offers: OfferNumbers
    per_instance: Floats  # [O]
    per_active_w: Floats  # [O]
    goodput: bool = False
    caps: tuple[Cap, ...] = ()
    budget_usd_per_hour: float | None = None
    power_w: float | None = None
    max_gpu_types: int | None = None

    def per_replica(self, service: ServiceNumbers) -> Floats:
        """[P, O] what one busy replica adds to the objective beyond its instance."""
        return service.active_w[:, None] * self.per_active_w

    def watts(self, answer: Answer) -> Floats:
        """[O] power drawn on each offer with every replica of ``answer`` busy, idle GPUs included."""
        drawn: Floats = answer.instances * self.offers.idle_w
        for service, counts in zip(self.services, answer.replicas, strict=True):
            drawn = drawn + service.active_w @ counts
        return drawn

    def with_hosts(self, hosts: tuple[Bools, ...]) -> Problem:
        """The same problem with other hosting masks, one per service."""
        services = tuple(replace(s, hosts=h) for s, h in zip(self.services, hosts, strict=True))
        return replace(self, services=services)


def prices(objective: Objective, offers: OfferNumbers) -> tuple[Floats, Floats]:
    """(per instance, per active watt) of an objective: $/h, W, or g CO2/h. Goodput has none."""
    zero = np.zeros(offers.gpus.size)
    if objective == "power":
        return offers.idle_w, zero + 1.0
    if objective == "carbon":
        return offers.idle_w * offers.g_co2_per_kwh / 1000, offers.g_co2_per_kwh / 1000
    return (zero if objective == "goodput" else offers.usd_per_hour), zero


@dataclass(frozen=True)
class Answer:
    """Counts and routing that a solver found.

    ``replicas[s][p, o]`` and ``instances[o]`` are whole; ``share[s][p, b]`` is the share of a bucket sent to a pool.
    ``scale``: all traffic times this is served (1 unless the objective is goodput).
    """

    replicas: tuple[Ints, ...]
    instances: Ints
    share: tuple[Floats, ...]
    scale: float = 1.0
