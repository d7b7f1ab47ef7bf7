"""Where one server and its worker processes count together: prometheus_client's multiprocess mode.

``share`` names a directory; each process that imports ``api.ops.metrics`` inside of it, children included, writes a
file of its own there, and who is asked adds them up.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's name for the directory. It has to be set before that is imported."""

_held: list[FileLock] = []  # until the process ends


@contextlib.contextmanager
def share() -> Iterator[None]:
    """Make the directory for this process and its children; it goes with the block."""
    with tempfile.TemporaryDirectory(prefix="gpuplan-metrics-") as directory:
        os.environ[VARIABLE] = directory
        try:
            yield
        finally:
            del os.environ[VARIABLE]


def take_slot() -> str:
    """The lowest number that no other living process of the directory has; this one keeps it to its end.

    Files are named by it and not by process id: a worker that replaces a dead one goes on in its file, so that there
    are as many files as processes ever ran at once, not as ever ran.
    """
    for slot in itertools.count():
        lock = FileLock(Path(os.environ[VARIABLE]) / f"{slot}.lock")
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0)
            _held.append(lock)
            return str(slot)
    raise AssertionError("numbers do not end")
