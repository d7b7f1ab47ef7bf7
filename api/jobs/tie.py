"""What a worker knows of whoever started it: that a job came in, and that it has to go."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import TypeVar

from planner.errors import StoreError

Result = TypeVar("Result")

FIRST_WAIT_S, MOST_WAIT_S = 0.1, 5.0
"""Between two tries while the store is out of reach; doubles from the first to the last."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tie:
    """``woken`` when a job came in, ``cut`` when the worker has to go."""

    woken: Event = field(default_factory=Event)
    cut: Event = field(default_factory=Event)

    def listen(self, descriptor: int) -> None:
        """Read until there is nobody at the other end any more; runs in a thread of its own."""
        while os.read(descriptor, 4096):
            self.woken.set()
        self.let_go()

    def let_go(self) -> None:
        """Have the worker go."""
        self.cut.set()
        self.woken.set()


def patiently(function: Callable[[], Result], tie: Tie) -> Result | None:
    """What ``function`` returns, as soon as the store is there to answer; None where the worker has to go meanwhile."""
    wait_s = FIRST_WAIT_S
    while True:
        try:
            return function()
        except StoreError as error:
            _log.warning("the store is out of reach, next try in %.1f s: %s", wait_s, error.detail)
        if tie.cut.wait(wait_s):
            return None
        wait_s = min(2 * wait_s, MOST_WAIT_S)
