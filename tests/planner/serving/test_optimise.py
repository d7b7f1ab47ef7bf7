from __future__ import annotations

import numpy as np
import pytest

from planner.serving.optimise import optimise
from planner.serving.problem import OfferNumbers, Problem, ServiceNumbers
from planner.types import SolveOptions


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("rate", [0.5, 3.0, 40.0])
def test_never_dearer_than_enough_replicas_of_one_pool(seed: int, rate: float) -> None:
    """Many sizes with hardly any traffic: what they need must not round up to replicas of their own."""
    rng = np.random.default_rng(seed)
    num_pools, num_buckets = 5, 120
    traffic = rng.dirichlet(np.full(num_buckets, 0.1)) * rate
    capacity = rng.uniform(1, 4, (num_pools, num_buckets)) * rng.uniform(1, 3, (num_pools, 1))
    price, nothing = rng.uniform(1, 5, num_pools), np.zeros(num_pools)
    gpus = np.ones(num_pools, np.int64)
    service = ServiceNumbers("s", traffic, capacity, gpus, nothing, nothing > 0, np.eye(num_pools, dtype=bool))
    offers = OfferNumbers(price, gpus, nothing, nothing, np.arange(num_pools))
    found = optimise(Problem((service,), offers, price, nothing), SolveOptions()).solution
    alone = price * np.ceil((traffic / capacity).sum(axis=1))
    assert found.outcome == "optimal"
    assert found.objective is not None
    assert found.objective <= alone.min() * (1 + 1e-4)
