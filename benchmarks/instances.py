"""Random serving problems for the benchmarks and their seeds: nothing here is measured, everything is plausible.

GPU types are drawn as bandwidth, compute, memory and price per hour that grow together with scatter; a request size
is prompt × output tokens on a log grid. A roofline with continuous batching (batch bounded by KV memory and by 256)
gives requests/s of one replica; ±25% noise makes no GPU best at everything, and pairs whose decode step takes more
than 120 ms miss the SLO. Traffic is a Dirichlet draw over the sizes times the rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planner.program import Floats
from planner.serving.model import formulate
from planner.serving.problem import Cap, OfferNumbers, Problem, ServiceNumbers
from planner.solver import solve
from planner.types import SolveOptions

WEIGHTS_BYTES = 16e9
KV_BYTES_PER_TOKEN = 131_072
SLOWEST_STEP_S = 0.12


@dataclass(frozen=True)
class Instance:
    """One service on one replica per instance: B request sizes, G GPU types."""

    price: Floats  # [G] $/h
    throughput: Floats  # [B, G] requests/s; 0: misses the SLO
    rate: Floats  # [B] requests/s

    def problem(self) -> Problem:
        num_gpus = self.price.size
        zeros, ones = np.zeros(num_gpus), np.ones(num_gpus, np.int64)
        offers = OfferNumbers(self.price, ones, zeros, zeros, np.arange(num_gpus))
        service = ServiceNumbers(
            "service", self.rate, self.throughput.T.copy(), ones, zeros, np.zeros(num_gpus, bool),
            np.eye(num_gpus, dtype=bool),
        )  # fmt: skip
        return Problem((service,), offers, self.price, zeros)


def instance(num_buckets: int, num_gpus: int, rate: float, seed: int, *, slower: float = 1.0) -> Instance:
    """A random instance; ``slower`` divides every throughput (a larger model)."""
    rng = np.random.default_rng(seed)
    prompt, output = np.meshgrid(
        np.geomspace(20, 12_000, -(-num_buckets // 10)), np.geomspace(10, 2_000, 10), indexing="ij"
    )
    prompt, output = prompt.ravel()[:num_buckets, None], output.ravel()[:num_buckets, None]
    bandwidth = rng.uniform(0.3, 8, num_gpus) * 1e12  # bytes/s
    compute = bandwidth * rng.uniform(100, 400, num_gpus)  # FLOP/s
    memory = bandwidth / 1e12 * rng.uniform(15, 35, num_gpus) * 1e9 + 8e9  # bytes left for KV
    price = 0.25 + (bandwidth / 1e12) ** 0.9 * rng.uniform(0.8, 1.6, num_gpus)
    context = prompt + output / 2
    batch = np.clip(memory / (context * KV_BYTES_PER_TOKEN), 1, 256)
    step_s = (WEIGHTS_BYTES + batch * context * KV_BYTES_PER_TOKEN) / bandwidth + batch * WEIGHTS_BYTES / compute
    request_s = prompt * WEIGHTS_BYTES / (compute * 0.5) + output * step_s / batch
    throughput = rng.uniform(0.75, 1.3, request_s.shape) / request_s
    meets_slo = step_s <= SLOWEST_STEP_S
    meets_slo |= ~meets_slo.any(axis=1)[:, None]  # a size that all miss would make the instance infeasible
    return Instance(
        price, np.where(meets_slo, throughput, 0.0) / slower, rng.dirichlet(np.full(num_buckets, 0.7)) * rate
    )


def mixed_instances(count: int, seed: int = 0) -> list[tuple[str, Instance]]:
    """(label, instance): 60–200 buckets × 4–16 GPU types × rates 1–512 requests/s, all drawn."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        num_buckets, num_gpus = int(rng.integers(60, 201)), int(rng.integers(4, 17))
        rate = float(2.0 ** rng.integers(0, 10))
        label = f"{num_buckets:3d} buckets × {num_gpus:2d} types × {rate:3.0f}/s"
        drawn.append((label, instance(num_buckets, num_gpus, rate, int(rng.integers(2**31)))))
    return drawn


def many_services(rate: float, seed: int, *, regions: int = 1, num_services: int = 10, num_buckets: int = 60,
                  num_types: int = 16, scarcity: float = 0.6) -> Problem:  # fmt: skip
    """Services that share caps: every GPU type in instances of 1, 2, 4 and 8 GPUs (the units), in every region.

    Each service has a model 4 to 10 times slower than ``instance``'s, its own traffic and its own noise, on the same
    GPU types; TP over g GPUs gives g^0.9 of one. Prices differ ±7% between sizes and regions. In every region the
    types that the linear relaxation without caps uses most, half of those it uses, are capped at ``scarcity`` of that
    use, and so bind; the others are capped at 4 to 40 GPUs, which binds when traffic moves to them, or does not.
    """
    rng = np.random.default_rng([seed, regions])
    gpus, gpu_type = np.tile([1, 2, 4, 8], num_types), np.repeat(np.arange(num_types), 4)
    hardware = instance(num_buckets, num_types, rate, seed)
    services = []
    for s in range(num_services):
        own = np.random.default_rng([seed, s])
        slower = float(own.uniform(4, 10))
        noise = own.uniform(0.8, 1.2, (num_buckets, num_types))
        capacity = (hardware.throughput * noise / slower)[:, gpu_type].T * (gpus**0.9)[:, None]
        capacity *= own.uniform(0.9, 1.05, capacity.shape)
        traffic = own.dirichlet(np.full(num_buckets, 0.7)) * rate
        hosts = np.tile(np.eye(gpus.size, dtype=bool), (1, regions))
        nothing = np.zeros(gpus.size)
        services.append(ServiceNumbers(f"service-{s}", traffic, capacity, gpus, nothing, nothing > 0, hosts))
    num_offers = gpus.size * regions
    usd = np.tile(hardware.price[gpu_type] * gpus, regions) * rng.uniform(0.93, 1.07, num_offers)
    offer_type = np.tile(gpu_type, regions)
    offers = OfferNumbers(usd, np.tile(gpus, regions), np.zeros(num_offers), np.zeros(num_offers), offer_type)
    uncapped = Problem(tuple(services), offers, usd, np.zeros(num_offers))
    use = _relaxed_instances(uncapped) * offers.gpus
    region = np.repeat(np.arange(regions), gpus.size)
    groups = [(region == r) & (offer_type == t) for r in range(regions) for t in range(num_types)]
    used = np.array([use[group].sum() for group in groups])
    limits = np.where(used > 0.5, np.ceil(scarcity * used), rng.integers(4, 41, used.size))
    caps = tuple(Cap(f"cap-{k}", group * offers.gpus.astype(float), float(limit))
                 for k, (group, limit) in enumerate(zip(groups, limits, strict=True)))  # fmt: skip
    return replace(uncapped, caps=caps)


def _relaxed_instances(problem: Problem) -> Floats:
    """[O] instances that the linear relaxation rents."""
    formulation = formulate(problem)
    program = formulation.program
    values = solve(replace(program, integer=np.zeros_like(program.integer)), SolveOptions(time_limit_s=120)).values
    assert values is not None
    padded = np.append(values, 0.0)
    counts = [padded[columns] for columns in formulation.replicas]
    return np.sum([(n * filled).sum(axis=0) for n, filled in zip(counts, formulation.filled, strict=True)], axis=0)
