"""A small serving problem with given rates, and the facts there are."""

from __future__ import annotations

from typing import Any

from profiles import catalogue
from profiles.types import Facts

SPEC: dict[str, Any] = {
    "name": "small",
    "services": [{
        "name": "a",
        "workload": {"requests_per_s": 10, "distribution": {
            "input_tokens": [1, 128, 512], "output_tokens": [1, 128, 512], "fractions": [[0.4, 0.3], [0.2, 0.1]],
        }},
        "units": [
            {"name": "small", "gpu": "L4", "usd_per_hour": 0.7, "requests_per_s": [[2, 1], [1, 0.5]]},
            {"name": "large", "gpu": "H100", "usd_per_hour": 7.5, "requests_per_s": [[25, 12], [14, 9]]},
        ],
    }],
}  # fmt: skip
RATE, PRICE = "services[0].workload.requests_per_s", "services[0].units[1].usd_per_hour"


def facts() -> Facts:
    known = catalogue.load()
    return Facts(**{name: getattr(known, name) for name in type(known).model_fields}, digest="of the test")
