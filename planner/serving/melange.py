"""A Mélange configuration as a spec: ``gpu_info`` with ``cost`` and ``tputs``, and a workload matrix."""

from __future__ import annotations

import math
from typing import Any

from planner.errors import InvalidInput
from planner.serving.spec import (
    Distribution,
    RateUnit,
    Service,
    ServingSpec,
    Workload,
    check_matrix,
    check_sums_to_one,
)

_KEYS = ("gpu_info", "workload_distribution", "total_request_rate")


def is_melange(document: object) -> bool:
    """Whether a parsed file is a Mélange configuration."""
    return isinstance(document, dict) and any(key in document for key in _KEYS)


def from_melange(document: dict[str, Any], name: str) -> ServingSpec:
    """The same question in our words.

    Ranges of tokens are not in the file, so they are numbered from 1. Mélange plans replicas full, hence
    ``max_utilisation=1``; its ``slice_factor`` has no counterpart: shares here are continuous, which is never dearer.

    Raises
    ------
    InvalidInput
        A key is missing or a matrix is not what it should be, named by its path in the file.
    """
    for key in _KEYS:
        if key not in document:
            raise InvalidInput("is missing", field=key, fix="a Mélange config has gpu_info, workload_distribution, "
                               "total_request_rate and slice_factor")  # fmt: skip
    slices = document.get("slice_factor", 1)
    if not isinstance(slices, int) or isinstance(slices, bool) or slices < 1:
        raise InvalidInput(f"{slices!r} is not a whole number of at least 1", field="slice_factor")
    distribution = _matrix(document["workload_distribution"], "workload_distribution")
    shares = [value for row in distribution for value in row]
    try:
        check_sums_to_one(shares, "its values")
    except ValueError as error:
        raise InvalidInput(str(error), field="workload_distribution") from None
    rate = _number(document["total_request_rate"], "total_request_rate", least=0.0, most=1e7)
    total = math.fsum(shares)
    gpu_info = document["gpu_info"]
    if not isinstance(gpu_info, dict) or not gpu_info:
        raise InvalidInput(
            "must name at least one GPU", field="gpu_info", fix='{"A10G": {"cost": 1.01, "tputs": [[...]]}}'
        )
    units = tuple(_unit(gpu, info, len(distribution), len(distribution[0])) for gpu, info in gpu_info.items())
    workload = Workload(
        requests_per_s=rate,
        distribution=Distribution(
            input_tokens=tuple(range(1, len(distribution) + 2)),
            output_tokens=tuple(range(1, len(distribution[0]) + 2)),
            fractions=tuple(tuple(value / total for value in row) for row in distribution),
        ),
        description="Mélange config; token ranges are numbered, as the file does not give them",
    )
    service = Service(name=name, model="as profiled", workload=workload, max_utilisation=1.0, units=units)
    return ServingSpec(name=name, services=(service,))


def _unit(gpu: str, info: object, num_rows: int, num_columns: int) -> RateUnit:
    path = f"gpu_info.{gpu}"
    if not gpu.strip():
        raise InvalidInput("has a GPU without a name", field="gpu_info", fix="name it, e.g. A10G")
    if not isinstance(info, dict) or not {"cost", "tputs"} <= info.keys():
        raise InvalidInput("needs cost and tputs", field=path, fix='write {"cost": 1.01, "tputs": [[...]]}')
    rates = _matrix(info["tputs"], f"{path}.tputs")
    try:
        check_matrix(rates, num_rows, num_columns, "it", "those of workload_distribution", "likewise")
    except ValueError as error:
        raise InvalidInput(str(error), field=f"{path}.tputs") from None
    cost = _number(info["cost"], f"{path}.cost", least=1e-6, most=1e6)
    return RateUnit(name=gpu, gpu=gpu, usd_per_hour=cost, requests_per_s=rates)


def _matrix(value: object, path: str) -> tuple[tuple[float, ...], ...]:
    if not isinstance(value, list) or not value or not all(isinstance(row, list) and row for row in value):
        raise InvalidInput("must be a matrix: a list of rows of numbers", field=path)
    if len({len(row) for row in value}) > 1:
        raise InvalidInput(f"is ragged: rows have {sorted({len(row) for row in value})} numbers", field=path)
    return tuple(
        tuple(_number(cell, f"{path}[{i}][{j}]", least=0.0, most=1e7) for j, cell in enumerate(row))
        for i, row in enumerate(value)
    )


def _number(value: object, path: str, *, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidInput(f"{value!r:.60} is not a number from {least:g} to {most:,.0f}", field=path)
    return float(value)
