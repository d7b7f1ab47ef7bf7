"""What the store knows, kept for a moment: reading all of it takes some ten milliseconds."""

from __future__ import annotations

import time
from threading import Lock

from sqlalchemy import Engine

from profiles.store import snapshot
from profiles.types import Facts

KEPT_S = 5.0
"""How old an answer about facts may be, as of keys. Plans are made from what the store knows at that moment."""


class KnownFacts:
    """The facts of one server process; may be used by many threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._facts: Facts | None = None
        self._read_at_s = 0.0
        self._lock = Lock()

    def read(self) -> Facts:
        """All facts, at most ``KEPT_S`` old; ``StoreError`` where the store cannot be read."""
        with self._lock:
            moment_s = time.monotonic()
            if self._facts is None or moment_s - self._read_at_s > KEPT_S:
                self._facts = snapshot(self._engine)
                self._read_at_s = moment_s
            return self._facts

    def forget(self) -> None:
        """Read again next time: something was added."""
        with self._lock:
            self._facts = None
