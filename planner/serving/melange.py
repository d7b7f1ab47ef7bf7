"""A Mélange configuration as a spec: ``gpu_info`` with ``cost`` and ``tputs``, and a workload matrix."""

from __future__ import annotations

import math
from typing import Any

from planner.errors import InvalidInput
from planner.serving.spec import Distribution, RateUnit, Service, ServingSpec, Workload, check_sums_to_one


def is_melange(document: object) -> bool:
    """Whether a parsed file is a Mélange configuration."""
    return isinstance(document, dict) and "gpu_info" in document


def from_melange(document: dict[str, Any], name: str) -> ServingSpec:
    """The same question in our words.

    Ranges of tokens are not in the file, so they are numbered from 1. Mélange plans replicas full, hence
    ``max_utilisation=1``; its ``slice_factor`` has no counterpart: shares here are continuous, which is never dearer.

    Raises
    ------
    InvalidInput
        A key is missing or a matrix is not what it should be, named by its path in the file.
    """
    for key in ("gpu_info", "workload_distribution", "total_request_rate"):
        if key not in document:
            raise InvalidInput("is missing", field=key, fix="a Mélange config has gpu_info, workload_distribution, "
                               "total_request_rate and slice_factor")  # fmt: skip
    slices = document.get("slice_factor", 1)
    if not isinstance(slices, int) or isinstance(slices, bool) or slices < 1:
        raise InvalidInput(f"{slices!r} is not a whole number of at least 1", field="slice_factor")
    distribution = _matrix(document["workload_distribution"], "workload_distribution")
    shares = [value for row in distribution for value in row]
    try:
        check_sums_to_one(shares, "workload_distribution")
    except ValueError as error:
        raise InvalidInput(str(error), field="workload_distribution") from None
    total = math.fsum(shares)
    gpu_info = document["gpu_info"]
    if not isinstance(gpu_info, dict) or not gpu_info:
        raise InvalidInput(
            "must name at least one GPU", field="gpu_info", fix='{"A10G": {"cost": 1.01, "tputs": [[...]]}}'
        )
    units = tuple(_unit(gpu, info) for gpu, info in gpu_info.items())
    workload = Workload(
        requests_per_s=document["total_request_rate"],
        distribution=Distribution(
            input_tokens=tuple(range(1, len(distribution) + 2)),
            output_tokens=tuple(range(1, len(distribution[0]) + 2)),
            fractions=tuple(tuple(value / total for value in row) for row in distribution),
        ),
        description="Mélange config; token ranges are numbered, as the file does not give them",
    )
    service = Service(name=name, model="as profiled", workload=workload, max_utilisation=1.0, units=units)
    return ServingSpec(name=name, services=(service,))


def _unit(gpu: str, info: object) -> RateUnit:
    path = f"gpu_info.{gpu}"
    if not isinstance(info, dict) or not {"cost", "tputs"} <= info.keys():
        raise InvalidInput("needs cost and tputs", field=path)
    return RateUnit(
        name=gpu, gpu=gpu, usd_per_hour=info["cost"], requests_per_s=_matrix(info["tputs"], f"{path}.tputs")
    )


def _matrix(value: object, path: str) -> tuple[tuple[float, ...], ...]:
    if not isinstance(value, list) or not value or not all(isinstance(row, list) and row for row in value):
        raise InvalidInput("must be a matrix: a list of rows of numbers", field=path)
    if len({len(row) for row in value}) > 1:
        raise InvalidInput(f"is ragged: rows have {sorted({len(row) for row in value})} numbers", field=path)
    for i, row in enumerate(value):
        for j, cell in enumerate(row):
            if isinstance(cell, bool) or not isinstance(cell, int | float) or not math.isfinite(cell) or cell < 0:
                raise InvalidInput(f"{cell!r} is not a number of at least 0", field=f"{path}[{i}][{j}]")
    return tuple(tuple(float(cell) for cell in row) for row in value)
