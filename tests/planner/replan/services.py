"""Small services whose units have given rates: planned in milliseconds, without profiles."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np

from planner.replan.service import SavedService
from tests.planner.replan.demands import START

SMALL, LARGE = 1.0, 3.0  # requests/s that a unit carries at the SLO; half of it is planned for use
FIRST_DAY = dt.date(2026, 1, 26)  # three weeks after the histories begin


def spec(**limits: Any) -> dict[str, Any]:
    """One service on units that are small and dear, or large and cheap for their size."""
    return {
        "name": "chat",
        "services": [
            {
                "name": "chat",
                "max_utilisation": 0.5,
                "workload": {
                    "requests_per_s": 1.0,
                    "distribution": {"input_tokens": [1, 100], "output_tokens": [1, 100], "fractions": [[1.0]]},
                },
                "units": [
                    {"name": "small", "gpu": "L4", "usd_per_hour": 1.0, "requests_per_s": [[SMALL]]},
                    {"name": "large", "gpu": "A100", "usd_per_hour": 2.5, "requests_per_s": [[LARGE]]},
                ],
            }
        ],
        "limits": limits,
    }


def service(
    name: str = "chat", files: tuple[Path, ...] = (), rates: np.ndarray | None = None, **changes: Any
) -> SavedService:
    """A saved service in static mode; ``changes`` are those of its terms, or ``limits``."""
    demand: dict[str, Any] = {"service": "chat", "files": [str(file) for file in files]}
    if rates is not None:
        demand["observed"] = {"start": START.isoformat(), "requests_per_s": rates.tolist()}
    limits = changes.pop("limits", {})
    time_zone = changes.pop("time_zone", "UTC")
    terms = {"mode": "static", "schedule": {"start_up_s": 600, "usd_per_start": 0.1}, **changes}
    return SavedService.model_validate(
        {"name": name, "spec": spec(**limits), "demand": [demand], "terms": terms, "time_zone": time_zone}
    )


def flat(num_days: int, rate: float) -> np.ndarray:
    """The same demand every hour."""
    return np.full(num_days * 24, rate)
