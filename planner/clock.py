"""A time limit that is passed along."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clock:
    """Runs from when it is made. Algorithms ask it between steps; without it they end by themselves."""

    limit_s: float
    started: float = field(default_factory=time.perf_counter)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    @property
    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.limit_s - self.elapsed_s)

    def is_over(self) -> bool:
        """Whether the limit is reached."""
        return self.elapsed_s >= self.limit_s
