"""Progress of long work, told to whoever shows it. Without anybody listening it goes nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Show = Callable[[str, float], None]
"""Takes what is being done, in a few words, and how much of it is done, from 0 to 1."""

_show: ContextVar[Show | None] = ContextVar("show", default=None)


def progress(label: str, fraction: float) -> None:
    """Tell how far along ``label`` is."""
    show = _show.get()
    if show is not None:
        show(label, min(max(fraction, 0.0), 1.0))


@contextmanager
def showing(show: Show) -> Iterator[None]:
    """Have ``show`` called with all progress inside the block."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)
