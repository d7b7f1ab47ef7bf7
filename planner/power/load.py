"""Power specs from files: our YAML or JSON, with the traces, series and plans that workloads name read in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from planner.documents import only_file, read_document, validated
from planner.errors import InvalidInput
from planner.packed import PackedArray
from planner.power.spec import PowerSpec, Server
from planner.power.traces.prometheus import read_prometheus
from planner.power.traces.readings import Recorded
from planner.power.traces.series import read_series
from planner.power.traces.served import demand_of_plan
from planner.power.workload import WHOLE, Series, Trace, Training
from planner.trace_file import read_rows
from planner.types import Frozen

MONDAY_H = 72
"""Hours from Monday 00:00 UTC until 1970-01-01 00:00 UTC, a Thursday."""

MOST_REQUESTS = 5_000_000


class SeriesFile(Frozen):
    """Where a workload's recorded power is, as a spec file writes it. Paths are relative to the spec file."""

    series: Path | None = None
    prometheus: Path | None = None
    unit: Literal["watts", "utilisation"] | None = Field(default=None, description="of a CSV with a column per server")
    time_zone: str | None = Field(default=None, description="of dates without an offset, e.g. Europe/Berlin")
    other_w: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = Field(
        default=0.0, description="watts in each value that GPUs do not draw; taken off"
    )


class PlanFile(Frozen):
    """A saved serving plan that the workload's servers run. ``service``: of several."""

    plan: Path
    service: str | None = None


def load(paths: Path | Sequence[Path], options: dict[str, Any]) -> PowerSpec:
    """The spec in one file, complete: nothing in it refers to other files any more.

    ``options["trace"]``: a trace file whose requests all inference workloads get instead of theirs.

    Raises
    ------
    InvalidInput
        A file cannot be read, or holds a mistake, named by its path.
    """
    path = only_file(paths)
    document = read_document(path)
    if isinstance(document, dict) and "outcome" in document:
        raise InvalidInput("is a plan, not a spec", field=str(path), fix="give a spec like examples/power.yaml")
    if isinstance(document, dict) and isinstance(document.get("workloads"), list):
        trace = options.get("trace")
        workloads = [_complete(entry, i, document, path, trace) for i, entry in enumerate(document["workloads"])]
        document = {**document, "workloads": workloads}
    return validated(PowerSpec, document, str(path))


def _complete(workload: Any, index: int, document: dict[str, Any], path: Path, trace: Path | None) -> Any:
    """The workload entry with the files that its demand names read in, and the demand's kind told by its fields."""
    demand = workload.get("demand") if isinstance(workload, dict) else None
    if not isinstance(demand, dict):
        return workload
    field = f"{path}: workloads[{index}].demand"
    server = _server(workload, document)
    if trace is not None and (demand.get("kind") == "trace" or "model" in demand):
        own = ("trace", "requests", "generated")
        demand = {**_traced(trace), **{name: value for name, value in demand.items() if name not in own}}
    elif "trace" in demand:
        if not isinstance(demand["trace"], str):
            raise InvalidInput("must be the path of a CSV file", field=f"{field}.trace")
        rest = {name: value for name, value in demand.items() if name != "trace"}
        demand = {**_traced(path.parent / demand["trace"]), **rest}
    elif "series" in demand or "prometheus" in demand:
        demand = _recorded(demand, server["num_gpus"], path.parent, field)
    elif "plan" in demand:
        source = validated(PlanFile, _split(demand, PlanFile), field)
        planned = demand_of_plan(path.parent / source.plan, server["gpu"], server["num_gpus"], source.service)
        demand = {**planned, **_rest(demand, PlanFile)}
    elif "kind" not in demand:
        demand = {"kind": _kind(demand), **demand}
    return {**workload, "demand": demand}


def _traced(source: Path) -> dict[str, Any]:
    """Fields of a trace demand: its requests by time."""
    chunks, count = [], 0
    for rows in read_rows(source):
        chunks.append(np.stack([np.rint(rows.time_s * 1e3), rows.input_tokens, rows.output_tokens], axis=1))
        count += len(rows.time_s)
        if count > MOST_REQUESTS:
            raise InvalidInput(f"holds more than {MOST_REQUESTS:,} requests", field=str(source),
                               fix="cut it to its busiest hours: no more than one is replayed")  # fmt: skip
    table = np.concatenate(chunks).astype(np.int64)
    table = table[np.argsort(table[:, 0], kind="stable")]
    table[:, 0] -= table[0, 0]
    return {"kind": "trace", "requests": PackedArray.pack(table)}


def _recorded(demand: dict[str, Any], num_gpus: int, folder: Path, field: str) -> dict[str, Any]:
    source = validated(SeriesFile, _split(demand, SeriesFile), field)
    if source.series is not None and source.prometheus is not None:
        raise InvalidInput("series, prometheus: give one of them", field=field)
    if source.prometheus is not None:
        recorded = read_prometheus(folder / source.prometheus, num_gpus)
    else:
        assert source.series is not None  # noqa: S101  (one of the two brought us here)
        recorded = read_series(folder / source.series, unit=source.unit, time_zone=source.time_zone)
    return {"kind": "series", **_packed(recorded, source.other_w, field), **_rest(demand, SeriesFile)}


def _packed(recorded: Recorded, other_w: float, field: str) -> dict[str, Any]:
    if recorded.unit == "utilisation":
        values = {"utilisation": PackedArray.pack(np.rint(recorded.values * WHOLE / 100).astype(np.int64))}
    else:
        if recorded.values.min() < other_w:
            raise InvalidInput(f"is {other_w:g}, more than the {recorded.values.min():g} W of a whole reading",
                               field=f"{field}.other_w", fix="leave it out where values are of GPUs alone")  # fmt: skip
        values = {"gpu_w": PackedArray.pack(np.rint(recorded.values - other_w).astype(np.int64))}
    start_hour = (recorded.start_s / 3600 + MONDAY_H) % 168
    return {**values, "interval_s": recorded.interval_s, "start_hour": start_hour, "notes": recorded.notes}


def _server(workload: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """GPU and number of GPUs of the workload's server, as far as the unchecked document says them."""
    servers = document.get("servers")
    named = [s for s in servers if isinstance(s, dict)] if isinstance(servers, list) else []
    entry = next((s for s in named if s.get("name", "server") == workload.get("server")), {})
    num_gpus = entry.get("num_gpus", Server.model_fields["num_gpus"].default)
    return {"gpu": str(entry.get("gpu", "")), "num_gpus": num_gpus if isinstance(num_gpus, int) else 1}


def _kind(demand: dict[str, Any]) -> str:
    """The kind that knows most of the fields."""
    fields = {"trace": Trace.model_fields, "series": Series.model_fields, "training": Training.model_fields}
    return max(fields, key=lambda kind: len(demand.keys() & fields[kind].keys()))


def _split(demand: dict[str, Any], of: type[Frozen]) -> dict[str, Any]:
    return {name: value for name, value in demand.items() if name in of.model_fields}


def _rest(demand: dict[str, Any], of: type[Frozen]) -> dict[str, Any]:
    return {name: value for name, value in demand.items() if name not in of.model_fields}
