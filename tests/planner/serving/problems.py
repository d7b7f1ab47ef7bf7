"""Small random serving problems for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from planner.serving.problem import Cap, OfferNumbers, Problem, ServiceNumbers

rates = st.sampled_from([0.0, 0.3, 1.0, 2.5, 4.0])
capacities = st.sampled_from([0.0, 0.5, 1.0, 1.7, 3.0, 4.2])
prices = st.sampled_from([0.5, 1.0, 1.01, 2.3, 3.67])


def offers(usd: list[float], gpus: list[int], types: list[int] | None = None) -> OfferNumbers:
    """Offers with idle power of 10 W and 100 g CO2 per kWh per GPU."""
    size = np.array(gpus, dtype=np.int64)
    kinds = np.arange(len(usd)) if types is None else np.array(types)
    return OfferNumbers(np.array(usd), size, 10.0 * size, np.full(len(usd), 100.0), kinds)


def service(
    rate: list[float],
    capacity: list[list[float]],
    hosts: list[list[bool]],
    gpus: list[int] | None = None,
    **options: object,
) -> ServiceNumbers:
    """A service of one-GPU pools without spot, unless said otherwise."""
    pools = len(capacity)
    size = np.array(gpus or [1] * pools, dtype=np.int64)
    spot = np.array(options.pop("spot", [False] * pools))
    return ServiceNumbers(
        "s", np.array(rate), np.array(capacity, dtype=float).reshape(pools, len(rate)), size, 50.0 * size, spot,
        np.array(hosts, dtype=bool), **options,  # type: ignore[arg-type]
    )  # fmt: skip


def problem(services: list[ServiceNumbers], table: OfferNumbers, **limits: object) -> Problem:
    """A cost problem."""
    return Problem(tuple(services), table, table.usd_per_hour, np.zeros(table.gpus.size), **limits)  # type: ignore[arg-type]


@st.composite
def single_gpu_problems(draw: st.DrawFn, max_offers: int = 3) -> Problem:
    """One service, each unit an offer of its own: Mélange's setting. Every bucket can be served by some unit."""
    count, buckets = draw(st.integers(1, max_offers)), draw(st.integers(1, 3))
    rate = draw(st.lists(rates, min_size=buckets, max_size=buckets))
    capacity = np.array([[draw(capacities) for _ in range(buckets)] for _ in range(count)])
    capacity[draw(st.integers(0, count - 1)), :] = np.maximum(capacity[0], 3.0)
    usd = draw(st.lists(prices, min_size=count, max_size=count))
    made = service(rate, capacity.tolist(), np.eye(count, dtype=bool).tolist())
    return problem([made], offers(usd, [1] * count))


@st.composite
def shared_problems(draw: st.DrawFn) -> Problem:
    """Two services whose replicas of 1 and 2 GPUs share instances of 1, 2 or 4 GPUs, with limits of all kinds."""
    sizes = draw(st.sampled_from([[1, 2], [2, 4], [4], [3], [2]]))
    usd = [draw(prices) * size for size in sizes]
    services = []
    for _ in range(draw(st.integers(1, 2))):
        rate = draw(st.lists(rates, min_size=1, max_size=2))
        capacity = [[draw(st.sampled_from([1.0, 1.7])) * k for _ in rate] for k in (1, 2)]
        hosts = [[size >= k for size in sizes] for k in (1, 2)]
        services.append(service(
            rate, capacity, hosts, [1, 2],
            spot=draw(st.sampled_from([[False, False], [True, False]])),
            max_spot_fraction=draw(st.sampled_from([1.0, 0.4])),
            spare_replicas=draw(st.sampled_from([0, 0, 1])),
            min_replicas=draw(st.sampled_from([0, 2])),
            max_utilisation=draw(st.sampled_from([1.0, 0.8])),
        ))  # fmt: skip
    table = offers(usd, sizes)
    caps = ()
    if draw(st.booleans()):
        caps = (Cap("cap", np.array([1.0] + [0.0] * (len(sizes) - 1)), float(draw(st.integers(0, 2)))),)
    return problem(
        services, table, caps=caps,
        max_gpu_types=draw(st.sampled_from([None, 1])),
        budget_usd_per_hour=draw(st.sampled_from([None, 6.0])),
        power_w=draw(st.sampled_from([None, 400.0])),
    )  # fmt: skip
