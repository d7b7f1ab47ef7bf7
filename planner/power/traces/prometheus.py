"""Power or utilisation of GPUs as dcgm-exporter names them, from a range export of Prometheus (``query_range``)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from planner.documents import read_document
from planner.errors import InvalidInput
from planner.power.traces.readings import Readings, Recorded, Unit, side_by_side

POWER, UTILISATION = "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_GPU_UTIL"
HOSTS = ("Hostname", "hostname", "node", "kubernetes_node", "instance")
"""Labels that name the server, in the order in which they are tried: dcgm-exporter writes the first."""


def read_prometheus(path: Path, num_gpus: int) -> Recorded:
    """Servers of ``num_gpus`` GPUs each, their power added up or their utilisation averaged.

    A metric without a name (an expression such as ``sum by (Hostname) (...)``) is power, one series per server.

    Raises
    ------
    InvalidInput
        No such export, another number of GPUs on a server, or values that cannot be meant.
    """
    series = _series(read_document(path), str(path))
    names = {str(entry["metric"].get("__name__", "")) for entry in series}
    name = next((name for name in (POWER, UTILISATION, "") if name in names), None)
    if name is None:
        raise InvalidInput(f"holds neither {POWER} nor {UTILISATION}, only {', '.join(sorted(names)[:4])}",
                           field=str(path), fix=f"export {POWER}")  # fmt: skip
    unit: Unit = "utilisation" if name == UTILISATION else "watts"
    by_host: dict[str, list[Readings]] = {}
    for entry in series:
        if entry["metric"].get("__name__", "") == name:
            host = _host(entry["metric"], str(path))
            by_host.setdefault(host, []).append(_readings(entry, f"{path}: {host}"))
    by_server, notes = {}, []
    for host, gpus in sorted(by_host.items()):
        if name and len(gpus) != num_gpus:
            raise InvalidInput(f"has {len(gpus)} GPUs, the spec's servers have {num_gpus}", field=f"{path}: {host}",
                               fix="export all GPUs of servers of one kind, or correct num_gpus")  # fmt: skip
        if not name and len(gpus) > 1:
            raise InvalidInput(f"has {len(gpus)} series", field=f"{path}: {host}", fix="export one series per server")
        together = side_by_side({str(i): gpu for i, gpu in enumerate(gpus)}, unit, f"{path}: {host}")
        notes += [f"{host}: {note}" for note in together.notes]
        values = together.values.sum(axis=0) / (len(gpus) if unit == "utilisation" else 1)
        steps = np.arange(len(values), dtype=np.float64)
        by_server[host] = Readings(together.start_s + together.interval_s * steps, values)
    recorded = side_by_side(by_server, unit, str(path))
    return replace(recorded, notes=(*notes, *recorded.notes))


def _series(document: Any, source: str) -> list[dict[str, Any]]:
    """The result of the query: entries with ``metric`` and ``values``."""
    fix = "give the answer of /api/v1/query_range as it is"
    if isinstance(document, dict) and document.get("status") == "error":
        raise InvalidInput(f"is an error of Prometheus: {document.get('error', '')}", field=source, fix=fix)
    data = document.get("data", document) if isinstance(document, dict) else {"result": document}
    result = data.get("result") if isinstance(data, dict) else None
    if not isinstance(result, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("metric"), dict) and isinstance(entry.get("values"), list)
        for entry in result
    ):
        raise InvalidInput("is no range export of Prometheus", field=source, fix=fix)
    if not result:
        raise InvalidInput("holds no series", field=source, fix="check the query and its range")
    return result


def _host(metric: dict[str, Any], source: str) -> str:
    label = next((metric[label] for label in HOSTS if label in metric), None)
    if label is None:
        raise InvalidInput(f"a series has none of the labels {', '.join(HOSTS)}", field=source,
                           fix="keep the label that names the server")  # fmt: skip
    return str(label)


def _readings(entry: dict[str, Any], field: str) -> Readings:
    try:
        pairs = [(float(time), float(value)) for time, value in entry["values"]]
    except (TypeError, ValueError):
        raise InvalidInput("has values that are not pairs of time and number", field=field) from None
    return Readings(np.array([time for time, _ in pairs]), np.array([value for _, value in pairs]))
