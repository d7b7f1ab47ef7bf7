"""Opening a file that someone else wrote: text or a clear refusal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from profiles.errors import InvalidInput

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip (or a spreadsheet)",
    b"PAR1": "Parquet",
    b"SQLite format 3": "SQLite",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


@contextmanager
def opened(path: Path, expected: str) -> Iterator[TextIO]:
    """``path`` as UTF-8 text (with or without a byte-order mark); ``expected`` names the format in errors.

    Raises ``InvalidInput`` when it is missing, a folder, unreadable, empty, binary, or not UTF-8, at any point
    of the reading.
    """
    try:
        _refuse_binary(path, expected)
        with path.open(encoding="utf-8-sig", newline="") as text:
            yield text
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"is not UTF-8 text (byte {error.object[error.start]:#04x})", field=path.name, fix="save the file as UTF-8"
        ) from error
    except OSError as error:
        reason = "is a folder" if path.is_dir() else (error.strerror or str(error)).lower()
        raise InvalidInput(
            f"cannot be read: {reason}", field=str(path), fix=f"give the path of a file in the format {expected}"
        ) from error


def _refuse_binary(path: Path, expected: str) -> None:
    with path.open("rb") as raw:
        head = raw.read(4096)
    if not head.strip():
        raise InvalidInput("is empty", field=path.name, fix=f"give a {expected} file with data in it")
    kind = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "binary" if b"\0" in head else None)
    if kind:
        raise InvalidInput(
            f"is {kind}, not a {expected} file", field=path.name, fix="unpack or export it as plain UTF-8 text"
        )


def utc_day(seconds: float, where: str) -> dt.date:
    """The day of a time in seconds since 1970; raises ``InvalidInput`` at ``where`` for one that is no date."""
    try:
        return dt.datetime.fromtimestamp(seconds, tz=dt.UTC).date()
    except (OverflowError, OSError, ValueError) as error:
        raise InvalidInput(f"{seconds:g} is no time in seconds since 1970", field=where) from error


def modified_on(path: Path) -> dt.date:
    """The day ``path`` was last changed (UTC): the date of facts whose file carries none."""
    return utc_day(path.stat().st_mtime, str(path))
