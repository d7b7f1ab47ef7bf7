"""The policies among which the planner chooses: ladders of two thresholds like POLCA's, and what is left of them.

A member is told by six numbers. Caps are shares of the highest clock, so that one family serves every GPU: POLCA's
1275, 1110 and 1305 MHz are 0.904, 0.787 and 0.926 of A100's 1410 MHz. Steps cap clocks, not power, wherever clocks are
known: a power cap answers only after power has gone above it (POLCA, section 4), which our model of it leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product

from planner.power.policy import GpuCap, Policy, Step, no_capping
from planner.power.spec import PowerSpec
from planner.power.traces.pools import gpus_of
from profiles.performance.capping import HIGHEST_CLOCK_MHZ
from profiles.types import Facts

POLCA_CLOCKS = (1275.0 / 1410.0, 1110.0 / 1410.0, 1305.0 / 1410.0)
"""Shares of the highest clock of the low class at the first and second threshold, and of the high class (A100)."""

CLOCKS = (
    (1305.0 / 1410.0, 1200.0 / 1410.0, 1350.0 / 1410.0),
    POLCA_CLOCKS,
    (1200.0 / 1410.0, 1005.0 / 1410.0, 1305.0 / 1410.0),
    (1110.0 / 1410.0, 1005.0 / 1410.0, 1200.0 / 1410.0),
    (1110.0 / 1410.0, 1005.0 / 1410.0, 1005.0 / 1410.0),
)
"""From mild ones over POLCA's to deep caps for everyone; how deep, 1005 MHz, is our choice."""

POWER_CAP = 0.75
"""Share of TDP of the baseline that caps power at all times: 300 W of A100's 400 W. Ours."""

FIRST, GAP, HYSTERESIS = (0.75, 0.80, 0.85, 0.90), 0.09, 0.05
"""Thresholds from which the search starts, POLCA's among them."""

MHZ = 15.0
"""Steps in which clocks are set."""


@dataclass(frozen=True)
class Member:
    """One ladder: at ``t1`` the least important class is capped to ``low``, at ``t2`` to ``lower``, and, if that is not
    enough, the classes above it to ``high``. ``t2`` None: one threshold, the least important class to ``lower``.
    """

    t1: float
    t2: float | None
    hysteresis: float
    low: float
    lower: float
    high: float


@dataclass(frozen=True)
class Classes:
    """Priority classes, least important first, with what the shares of a member are of."""

    names: tuple[str, ...]
    highest_mhz: Mapping[str, float | None]
    tdp_w: Mapping[str, float]

    def clock_cap(self, name: str, share: float) -> GpuCap:
        """A cap at ``share`` of the highest clock; of TDP where the highest clock is not known."""
        highest = self.highest_mhz[name]
        if highest is None:
            return self.power_cap(name, share)
        return GpuCap(priority=name, clock_mhz=round(share * highest / MHZ) * MHZ)

    def power_cap(self, name: str, share: float) -> GpuCap:
        """A cap at ``share`` of TDP."""
        return GpuCap(priority=name, power_w=round(share * self.tdp_w[name]))


def classes_of(spec: PowerSpec, facts: Facts) -> Classes:
    """The spec's classes; where one runs on several kinds of GPU, its caps are those of the lowest clock and power."""
    gpus = gpus_of(spec, facts)
    running = {p.name: [gpus[w.server] for w in spec.workloads if w.priority == p.name] for p in spec.priorities}
    used = {name: found for name, found in running.items() if found}
    clocks = {name: [HIGHEST_CLOCK_MHZ.get(gpu.name) for gpu in found] for name, found in used.items()}
    return Classes(
        names=tuple(used),
        highest_mhz={n: None if None in found else min(c for c in found if c) for n, found in clocks.items()},
        tdp_w={name: min(gpu.tdp_w for gpu in found) for name, found in used.items()},
    )


def policy_of(member: Member, classes: Classes) -> Policy:
    """The member as a policy for these classes; a class alone has the two steps of the lower ones only."""
    lowest, others = classes.names[0], classes.names[1:]

    def step(at: float, names: Iterable[str], share: float, *, waits: bool = False) -> Step:
        caps = tuple(classes.clock_cap(name, share) for name in names)
        return Step(at=round(at, 4), release=round(at - member.hysteresis, 4), caps=caps, waits=waits)

    if member.t2 is None:
        steps: tuple[Step, ...] = (step(member.t1, (lowest,), member.lower),)
    else:
        steps = (step(member.t1, (lowest,), member.low), step(member.t2, (lowest,), member.lower))
        steps += tuple(step(member.t2, (name,), member.high, waits=True) for name in others)
    return Policy(name=_name(member, steps), steps=steps, brake_release=round(steps[-1].release, 4))


def _name(member: Member, steps: tuple[Step, ...]) -> str:
    """What a person tells policies apart by."""
    caps = [cap for step in steps[:3] for cap in step.caps]
    values = "/".join(f"{cap.clock_mhz or cap.power_w:g}" for cap in caps)
    unit = "W" if caps[0].clock_mhz is None else "MHz"
    if member.t2 is None:
        return f"one threshold {member.t1:.0%}, {values} {unit}"
    return f"two thresholds {member.t1:.0%}/{member.t2:.0%} less {member.hysteresis:.0%}, {values} {unit}"


def grid() -> tuple[Member, ...]:
    """Where the search starts."""
    ladders = [Member(t1, round(t1 + GAP, 4), HYSTERESIS, *shares) for t1, shares in product(FIRST, CLOCKS)]
    single = [Member(round(t1 + GAP, 4), None, HYSTERESIS, *CLOCKS[-1]) for t1 in FIRST]
    return tuple(ladders + single)


def neighbours(member: Member, step: float) -> tuple[Member, ...]:
    """Members whose thresholds or hysteresis differ by ``step``, or that have other clocks, where they make sense."""
    moves = [(by, by, 0.0) for by in (-step, step)] + [(0.0, 0.0, by) for by in (-step, step)]
    if member.t2 is not None:
        moves += [(by, 0.0, 0.0) for by in (-step, step)] + [(0.0, by, 0.0) for by in (-step, step)]
    moved = [
        replace(
            member,
            t1=round(member.t1 + first, 4),
            t2=None if member.t2 is None else round(member.t2 + second, 4),
            hysteresis=round(member.hysteresis + band, 4),
        )
        for first, second, band in moves
    ]
    moved += [replace(member, low=low, lower=lower, high=high) for low, lower, high in CLOCKS]
    return tuple(m for m in moved if m != member and _sensible(m))


def _sensible(member: Member) -> bool:
    top = member.t1 if member.t2 is None else member.t2
    apart = member.t2 is None or member.t2 - member.t1 >= member.hysteresis - 1e-9
    return member.t1 >= 0.4 and top <= 0.99 and 0.01 <= member.hysteresis <= 0.2 and apart


def deepest(classes: Classes, other: object = None) -> Policy:
    """Everything always under the lowest clocks that the family has, and under all caps of ``other`` where that is a
    policy: what neither a member nor it can undercut.
    """
    share = min(min(caps) for caps in CLOCKS)
    caps = [classes.clock_cap(name, share) for name in classes.names]
    if isinstance(other, Policy):
        caps += [*other.always, *(cap for step in other.steps for cap in step.caps)]
    return Policy(name="always capped", always=tuple(caps))


def polca_policy(classes: Classes) -> Policy:
    """POLCA's fixed values, its clocks as shares of the highest."""
    member = Member(0.80, 0.89, 0.05, *POLCA_CLOCKS)
    return policy_of(member, classes).model_copy(update={"name": "polca"})


def baselines(classes: Classes) -> tuple[Policy, ...]:
    """What the paper compares with: no capping, one threshold for the low class or for all, a power cap; its own."""
    low = classes.clock_cap(classes.names[0], POLCA_CLOCKS[1])
    every = tuple(classes.clock_cap(name, POLCA_CLOCKS[1]) for name in classes.names)

    def one(name: str, caps: tuple[GpuCap, ...]) -> Policy:
        return Policy(name=name, steps=(Step(at=0.89, release=0.84, caps=caps),), brake_release=0.84)

    capped = tuple(classes.power_cap(name, POWER_CAP) for name in classes.names)
    return (
        no_capping(),
        one("one threshold, low priority", (low,)),
        one("one threshold, all", every),
        Policy(name="power cap", always=capped),
        polca_policy(classes),
    )
