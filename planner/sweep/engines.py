"""One function for many items: in this process, in processes beside it, or on a Ray cluster.

Both engines go through the same loop: workers get some items at a time, answers keep the order of the items, and what
was under way when a worker died is tried again, one item at a time, so that an item that always kills its worker costs
no other one its answer.
"""

from __future__ import annotations

import os
import pickle
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from planner.errors import InvalidInput
from planner.progress import progress
from planner.settings import Engine, settings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Answer = TypeVar("Answer")

FEW = 3
"""Up to so many items are worked off in this process: starting others takes about as long as a plan."""

MOST_AT_ONCE = 10
"""Items handed to a worker at once: enough that handing over (milliseconds) costs little beside small plans."""

PARTS_PER_CPU = 8
"""Of few items, so that the last part to end does not keep all waiting."""

MOST_DEATHS = 3
"""Workers that an item may take with it, alone, before it is given up."""

TELL_S = 0.5
"""Between two reports of progress; who listens may raise to stop."""


@dataclass(frozen=True)
class Lost:
    """Stands for the answer of an item whose workers all died."""

    reason: str


@dataclass(frozen=True)
class Workers:
    """Started workers: ``submit`` hands them some items; ``died`` are the errors that say that one is gone."""

    count: int
    submit: Callable[[list[Any]], Future[list[Any]]]
    died: tuple[type[BaseException], ...]


def run_all(
    function: Callable[[Shared, Item], Answer],
    shared: Shared,
    items: Sequence[Item],
    *,
    label: str,
    engine: Engine | None = None,
) -> list[Answer | Lost]:
    """``function(shared, item)`` of every item, in order; ``shared`` is handed to each worker once.

    ``function`` can be imported by its name. ``engine`` left out is that of the settings. Tells ``planner.progress``.
    Raises what ``function`` raises, and ``InvalidInput`` where Ray is wanted and not installed or not reached.
    """
    engine = engine or settings().engine
    answers: dict[int, Answer | Lost] = {}

    def tell() -> None:
        progress(f"{label} {len(answers):,} of {len(items):,}", len(answers) / max(len(items), 1))

    if engine == "local" and (len(items) <= FEW or _num_cpus() == 1):
        for i, item in enumerate(items):
            tell()
            answers[i] = function(shared, item)
        return list(answers.values())
    start = _on_ray if engine == "ray" else _beside
    parts, suspects = deque(_parts(len(items))), deque[list[int]]()
    deaths = Counter[int]()
    while parts or suspects:
        alone = bool(suspects)
        with start(function, shared) as workers:
            interrupted = _work_off(suspects if alone else parts, items, answers, workers, tell, alone=alone)
        for i in interrupted:
            deaths[i] += alone
            if deaths[i] == MOST_DEATHS:
                answers[i] = Lost(f"its worker process died {MOST_DEATHS} times, for want of memory most likely")
            else:
                suspects.append([i])
    return [answers[i] for i in range(len(items))]


def _parts(num_items: int) -> Iterator[list[int]]:
    """Numbers of items that are handed over together."""
    size = max(1, min(MOST_AT_ONCE, num_items // (PARTS_PER_CPU * _num_cpus())))
    for start in range(0, num_items, size):
        yield list(range(start, min(start + size, num_items)))


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work_off(
    parts: deque[list[int]], items: Sequence[Any], answers: dict[int, Any], workers: Workers,
    tell: Callable[[], None], *, alone: bool,
) -> list[int]:  # fmt: skip
    """Answer the items of ``parts``, one part at a time where each is to run ``alone``.

    Ends when all are answered, or when a worker died: then with the numbers of the items that were under way.
    """
    under_way: dict[Future[list[Any]], list[int]] = {}
    most = 1 if alone else 2 * workers.count  # so that who becomes free finds work
    while parts or under_way:
        tell()
        try:
            while parts and len(under_way) < most:
                under_way[workers.submit([items[i] for i in parts[0]])] = parts[0]
                parts.popleft()
            for future in wait(under_way, TELL_S, FIRST_COMPLETED).done:
                answers.update(zip(under_way[future], future.result(), strict=True))
                del under_way[future]
        except workers.died:
            return [i for part in under_way.values() for i in part]
    tell()
    return []


@contextmanager
def _beside(function: Callable[[Any, Any], Any], shared: Any) -> Iterator[Workers]:
    """Processes on this machine, one per CPU, that end with this process however it ends."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # Not forked: threads and compiled kernels of this process may hold locks.
    context = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
    reader, writer = context.Pipe(duplex=False)
    given = pickle.dumps((function, shared))
    count = _num_cpus()
    with reader, writer, ProcessPoolExecutor(count, context, _begin, (reader, given)) as pool:
        try:
            yield Workers(count, lambda part: pool.submit(_answers, part), (BrokenProcessPool,))
        except BaseException:
            writer.close()  # ends all of them at once, in the middle of what they do
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_given = b""
"""In a worker process: what it calls, and with what for every item, pickled."""


def _begin(alive: Connection, given: bytes) -> None:
    """Make a worker ready: it ends when the other end of ``alive`` is closed, and leaves Ctrl-C to who started it."""
    global _given
    import signal
    import threading

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads: one worker per CPU is threads enough
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end() -> None:
        alive.poll(None)
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
    _given = given


@cache
def _unpickled() -> tuple[Callable[[Any, Any], Any], Any]:
    """Not while a worker begins: what fails there looks like its death."""
    given: tuple[Callable[[Any, Any], Any], Any] = pickle.loads(_given)  # noqa: S301  # by who started this process
    return given


def _answers(part: list[Any]) -> list[Any]:
    function, shared = _unpickled()
    return [function(shared, item) for item in part]


def _on_ray(function: Callable[[Any, Any], Any], shared: Any) -> AbstractContextManager[Workers]:
    try:
        from planner.sweep.on_ray import workers_on_ray
    except ModuleNotFoundError:
        raise InvalidInput(
            "is ray, and Ray is not installed", field="GPUPLAN_ENGINE", fix="pip install 'gpuplan[ray]', or unset it"
        ) from None
    return workers_on_ray(function, shared)
