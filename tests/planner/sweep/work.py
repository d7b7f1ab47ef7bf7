"""What the workers of tests do, in a module that they can import."""

from __future__ import annotations

import os
import time
from pathlib import Path


def squared(shared: int, item: int) -> tuple[int, int]:
    return shared, item * item


def deadly(shared: Path, item: int) -> int:
    """Items 7 and 12 always take their worker with them, 20 the first time; each call leaves a mark."""
    (shared / f"{item}-{time.monotonic_ns()}").touch()
    if item in (7, 12) or (item == 20 and len(list(shared.glob("20-*"))) == 1):
        os._exit(9)
    return item


def wrong(shared: int, item: int) -> int:
    if item == 11:
        raise ArithmeticError("eleven")
    return shared + item


def slow(shared: Path, item: int) -> int:
    (shared / str(os.getpid())).touch()
    time.sleep(60)
    return item
