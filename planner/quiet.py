"""Keep a C library's chatter out of our output: HiGHS 1.12 prints debugging lines even when told to be silent.

They would land in the middle of ``--json``. What goes to stdout from other threads meanwhile is lost too, so nothing of
ours prints there while it solves: progress and logs go to stderr.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0
_saved = -1


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send file descriptor 1 to nowhere; nests, and threads may be inside together."""
    global _inside, _saved
    with _lock:
        if _inside == 0:
            _saved = _silence()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _restore(_saved)


def _silence() -> int:
    """A copy of stdout's descriptor, to restore; -1 where there is none."""
    try:
        saved = os.dup(1)
    except OSError:  # closed by whoever started us
        return -1
    if sys.stdout is not None:
        sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return saved


def _restore(saved: int) -> None:
    if saved < 0:
        return
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)  # C buffers stdout apart from Python: what it holds must go nowhere as well
    os.dup2(saved, 1)
    os.close(saved)
