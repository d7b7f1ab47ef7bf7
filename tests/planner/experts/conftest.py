"""Small requests that the experts tests share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planner.experts import PLANNER, ExpertsPlan, ExpertsSpec
from planner.types import SolveOptions
from profiles.types import Facts


@pytest.fixture(scope="session")
def skewed() -> np.ndarray:
    """[4 layers, 16 experts] counts, the first layer dense."""
    rng = np.random.default_rng(7)
    counts = rng.gamma(0.8, 1000, (4, 16)).astype(int)
    counts[0] = 0
    return counts


@pytest.fixture
def plan_of() -> Any:
    """Plan a request given as fields of a spec, and check it."""

    def make(**fields: Any) -> ExpertsPlan:
        plan = PLANNER.solve(ExpertsSpec.model_validate(fields), Facts(), SolveOptions(time_limit_s=10))
        verdict = PLANNER.check(plan, Facts())
        assert verdict.passed, verdict.violations
        return plan

    return make
