"""A small store and serving plans from it: Llama-3.1-8B on L4 and L40S of AWS, estimated from datasheets."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from planner.service import answer
from planner.serving.plan import ServingPlan
from planner.serving.spec import ServingSpec
from planner.types import SolveOptions

CHEAPEST, OTHER = "g6.xlarge", "g6e.xlarge"


def spec(requests_per_s: float = 8.0, **changes: Any) -> ServingSpec:
    """A chat service. At 8 requests/s the cheapest plan uses both instance types."""
    service = {
        "name": "chat", "model": "meta-llama/Llama-3.1-8B-Instruct", "slo": {"ttft_ms": 2000, "tpot_ms": 100},
        "allow_roofline": True, "workload": {"buckets": [
            {"input_tokens": [1, 512], "output_tokens": [1, 256], "requests_per_s": requests_per_s * 0.75},
            {"input_tokens": [512, 4096], "output_tokens": [1, 512], "requests_per_s": requests_per_s * 0.25}]},
    }  # fmt: skip
    offers = {"providers": ["aws"], "regions": ["us-east-1"], "instance_types": [CHEAPEST, OTHER]}
    return ServingSpec.model_validate({"name": "chat", "services": [service], "offers": offers, **changes})


def plan(engine: Engine, requests_per_s: float = 8.0, **changes: Any) -> ServingPlan:
    """The plan for ``spec``."""
    found = answer("serving", spec(requests_per_s, **changes), engine, SolveOptions())
    assert isinstance(found, ServingPlan)
    return found
