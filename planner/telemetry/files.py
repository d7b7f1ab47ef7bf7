"""Opening what others wrote: plain or gzipped, and what kind of file it is by its first bytes."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, cast

from planner.documents import unreadable
from planner.errors import InvalidInput

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
MOST_TEXT_BYTES = 64 * 2**20
"""Of metrics, which are read whole: a scrape of a server has some 100 KB."""

Shape = Literal["csv", "json lines", "json", "parquet"]


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where it is gzipped.

    Raises ``InvalidInput``, at any point of the reading, where it is missing, unreadable or damaged.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == GZIP
            raw.seek(0)
            if zipped:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield cast("IO[bytes]", unpacked)
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InvalidInput("is a damaged gzip file", field=str(path), fix="write or copy it again") from None
    except OSError as error:
        raise unreadable(path, error) from None


def shape_of(path: Path) -> Shape:
    """What kind of file it is: by its first bytes, and by its name where these say too little."""
    with opened(path) as file:
        head = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(PARQUET):
        return "parquet"
    if head[:1] not in (b"{", b"["):
        return "csv"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return "json" if ".json" in suffixes or head[:1] == b"[" else "json lines"
