"""Recorded series of power or utilisation, from CSV files, on one grid of times for all servers.

CSV is wide (a time, then a column per server) or long (columns for time, server and value). Times are ISO dates with
an offset or Z, numbers since 1970, or dates of a named time zone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from planner.documents import unreadable
from planner.errors import InvalidInput
from planner.power.traces.readings import Readings, Recorded, Unit, side_by_side
from profiles.performance.answers import Floats

TIMES = ("time", "timestamp", "date", "datetime", "ts")
SERVERS = ("server", "host", "hostname", "node", "instance", "machine")
VALUES: dict[str, Unit] = {
    "watts": "watts", "power_w": "watts", "gpu_w": "watts", "gpu_power_w": "watts", "mean_power_w": "watts",
    "utilisation": "utilisation", "utilization": "utilisation", "gpu_util": "utilisation",
    "gpu_utilisation": "utilisation",
    "dcgm_fi_dev_power_usage": "watts",
    "dcgm_fi_dev_gpu_util": "utilisation",
}  # fmt: skip
KILOWATTS = ("kw", "power_kw", "gpu_kw", "kilowatts")

LATEST_S = 1e11
"""In seconds since 1970 this is beyond the year 5000: larger numbers count milli-, micro- or nanoseconds."""


def read_series(path: Path, *, unit: Unit | None = None, time_zone: str | None = None) -> Recorded:
    """The series in a CSV file.

    ``unit``: of a wide file, else told by the name of the column. ``time_zone``: of dates without an offset.

    Raises
    ------
    InvalidInput
        The file cannot be read, or holds times or values that cannot be meant; names file, server and time.
    """
    table = _table(path)
    names = {str(name).lower(): str(name) for name in table.columns}
    time, server, value = (
        next((names[name] for name in known if name in names), None) for known in (TIMES, SERVERS, VALUES)
    )
    if time is None:
        raise InvalidInput(f"has no column for time ({', '.join(map(str, table.columns[:8]))})", field=f"{path}:1",
                           fix=f"name it {TIMES[0]!r}")  # fmt: skip
    kilowatts = next((names[name] for name in KILOWATTS if name in names), None)
    if kilowatts is not None:
        raise InvalidInput(f"column {kilowatts!r} is in kilowatts", field=f"{path}:1",
                           fix="multiply it by 1000 and name it watts")  # fmt: skip
    times = _times(table[time], time_zone, path, table[server] if server is not None else None)
    if server is not None:
        if value is None:
            raise InvalidInput("has no column of values", field=f"{path}:1", fix="name it 'watts' or 'utilisation'")
        by_server = {
            str(name): Readings(times[rows], _numbers(table[value].iloc[rows], path))
            for name, rows in table.groupby(server, sort=True).indices.items()
        }
    else:
        columns = [name for name in table.columns if name != time]
        by_server = {str(name): Readings(times, _numbers(table[name], path)) for name in columns}
        if not by_server:
            raise InvalidInput("has times but no values", field=f"{path}:1", fix="add a column per server")
    found = unit or (VALUES[value.lower()] if value is not None else "watts")
    return side_by_side(by_server, found, str(path))


def _table(path: Path) -> Any:
    """The rows of the file, at least one."""
    import pandas as pd  # slow to import, and only files of series need it

    try:
        table = pd.read_csv(path, encoding="utf-8-sig", skipinitialspace=True)
    except OSError as error:
        raise unreadable(path, error) from None
    except pd.errors.EmptyDataError:
        raise InvalidInput("is empty", field=str(path), fix="give a header and rows") from None
    except ValueError as error:  # pandas' parser errors, and text that is not UTF-8, are ValueErrors
        raise InvalidInput(f"is not a well-formed CSV: {error}", field=str(path)) from None
    if len(table) == 0:
        raise InvalidInput("has a header but no rows", field=str(path), fix="give a recorded series")
    table.columns = table.columns.str.strip()
    return table


def _numbers(values: Any, path: Path) -> Floats:
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    bad = np.isnan(numbers) & values.notna().to_numpy()
    if bad.any():
        at = int(bad.argmax())
        raise InvalidInput(f"{str(values.iloc[at])[:40]!r} in column {values.name!r} is not a number",
                           field=f"{path}: row {int(values.index[at]) + 2}", fix="write plain numbers")  # fmt: skip
    return np.asarray(numbers)


def _times(values: Any, time_zone: str | None, path: Path, servers: Any) -> Floats:
    """(rows,) seconds since 1970."""
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce")
    if not np.isnan(numbers.iloc[0]):
        seconds = numbers.to_numpy(dtype=np.float64)
        largest = float(np.abs(seconds[np.isfinite(seconds)]).max(initial=0.0))
        seconds = seconds / next((scale for scale in (1.0, 1e3, 1e6, 1e9) if largest / scale <= LATEST_S), 1.0)
        return _known(seconds, values, path)
    aware = values.astype(str).str.strip().str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True)
    if aware.all():
        dates = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
    elif aware.any():
        at = int((~aware).to_numpy().argmax())
        raise InvalidInput(f"{values.iloc[at]!r} has no offset, other times have one", field=f"{path}: row {at + 2}",
                           fix="write all of them with an offset, or none")  # fmt: skip
    elif time_zone is None:
        raise InvalidInput(f"{values.iloc[0]!r} could be of any time zone", field=f"{path}: row 2",
                           fix="write times with an offset or Z, or say time_zone: Europe/Berlin")  # fmt: skip
    else:
        dates = _local(pd.to_datetime(values, errors="coerce", format="ISO8601"), _zone(time_zone), path, servers)
    seconds = (dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(dtype=np.float64)
    return _known(seconds, values, path)


def _known(seconds: Floats, values: Any, path: Path) -> Floats:
    bad = ~np.isfinite(seconds)
    if bad.any():
        at = int(bad.argmax())
        raise InvalidInput(f"{str(values.iloc[at])[:40]!r} is not a time", field=f"{path}: row {at + 2}",
                           fix="write dates like 2026-03-29T02:30:00Z, or seconds since 1970")  # fmt: skip
    return seconds


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidInput(
            f"{name!r} is not a time zone", field="time_zone", fix="write one like Europe/Berlin"
        ) from None


def _local(dates: Any, zone: ZoneInfo, path: Path, servers: Any) -> Any:
    """Local dates as UTC. An hour that comes twice, when summer time ends, is told by the order of its readings."""
    import pandas as pd

    groups = [dates] if servers is None else [rows for _, rows in dates.groupby(servers, sort=False)]
    try:
        in_utc = [
            rows.dt.tz_localize(zone, ambiguous="infer", nonexistent="raise").dt.tz_convert("UTC") for rows in groups
        ]
    except ValueError as error:
        raise InvalidInput(
            f"summer time begins or ends within it, and {str(error).splitlines()[0][:120]}", field=str(path),
            fix="write the times with an offset, or in UTC",
        ) from None  # fmt: skip
    return pd.concat(in_utc).sort_index()
