"""From demand by hour to serving specs: the rates of every service in every hour, and the spec of one hour."""

from __future__ import annotations

import numpy as np

from planner.errors import InvalidInput, UnknownName
from planner.program import Floats
from planner.replan.schedule.types import HourlyDemand
from planner.serving.spec import ServingSpec, Workload


def hourly_rates(spec: ServingSpec, demand: HourlyDemand) -> Floats:
    """[S, H] requests/s of every service of the spec in every hour.

    Raises
    ------
    UnknownName
        Demand is given for a service that the spec does not have.
    InvalidInput
        A service with demand has no traffic in the spec, so that its mix of sizes is not known.
    """
    names = {service.name for service in spec.services}
    for name in demand.services:
        if name not in names:
            raise UnknownName("service", name, names, field=f"demand.services.{name}")
    rates = np.zeros((len(spec.services), demand.num_hours))
    for s, service in enumerate(spec.services):
        total = total_rate(service.workload)
        rates[s] = demand.services.get(service.name, (total,) * demand.num_hours)
        if total == 0 and rates[s].any():
            raise InvalidInput(
                f"{service.name!r} has no traffic in the spec, so its mix of request sizes is not known",
                field=f"services[{s}].workload", fix="give a rate above 0: only the shares of the sizes are used",
            )  # fmt: skip
    return rates


def total_rate(workload: Workload) -> float:
    """Requests/s of all sizes."""
    return float(sum(bucket.requests_per_s for bucket in workload.all_buckets()))


def at_rates(spec: ServingSpec, rates: Floats) -> ServingSpec:
    """The spec with other total rates [S] and the same mixes."""
    services = tuple(
        service.model_copy(update={"workload": _scaled(service.workload, float(rate))})
        for service, rate in zip(spec.services, rates, strict=True)
    )
    return spec.model_copy(update={"services": services})


def _scaled(workload: Workload, rate: float) -> Workload:
    total = total_rate(workload)
    factor = rate / total if total else 0.0
    if workload.distribution is not None:
        return workload.model_copy(update={"requests_per_s": (workload.requests_per_s or 0.0) * factor})
    buckets = tuple(b.model_copy(update={"requests_per_s": b.requests_per_s * factor}) for b in workload.buckets)
    return workload.model_copy(update={"buckets": buckets})
