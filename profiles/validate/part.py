"""What every kind of file that can be validated is: how its rows are read, what they measured, how to predict them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from profiles.errors import InvalidInput
from profiles.ingest import Row
from profiles.names import KnownNames
from profiles.types import Facts


class Measured(Protocol):
    """A measured fact: of some model on some GPU type."""

    @property
    def model(self) -> str:
        """Catalogue name of the model, or the name it came with."""

    @property
    def gpu(self) -> str:
        """Catalogue name of the GPU type."""


M = TypeVar("M", bound=Measured)


@dataclass(frozen=True)
class Predicted:
    """A prediction of one row: per quantity its value and the ``r`` of its 90% interval ``[v / (1 + r), v · (1 + r)]``.

    ``origin`` says what it rests on: ``measured``, ``interpolated``, ``extrapolated`` or ``roofline``.
    """

    origin: str
    values: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Part(Generic[M]):
    """One kind of file. A new one is a module with such a record, listed in ``profiles.validate.PARTS``.

    Attributes
    ----------
    name:
        what ``gpuplan validate`` calls it
    quantities:
        what is predicted and observed, unit in the name
    read:
        every row of a file with its fact, or with what is wrong with it; raises ``InvalidInput`` for an unusable file
    observe:
        the measured value of each quantity; raises ``InvalidInput`` for a row that cannot be compared
    label:
        the row for people: layout and operating point
    point:
        what was run, in full: two rows of one point whose values differ contradict each other
    asked:
        as much of it as a prediction depends on
    splits:
        what ``--hold-out`` can leave out, and which of it a row belongs to
    stored:
        what facts hold of this kind
    given:
        facts that hold nothing of this kind but these
    started_from:
        what predictions start from beside the rows that are not held out, in a sentence; empty: nothing worth saying
    predict:
        for each row its prediction, or why there is none
    alternatives:
        the choice that a row is one of, in words; such rows are ranked by the first quantity, less is better
    """

    name: str
    quantities: tuple[str, ...]
    read: Callable[[Path, KnownNames], Sequence[tuple[Row, M | InvalidInput]]]
    observe: Callable[[M], Mapping[str, float]]
    label: Callable[[M], str]
    point: Callable[[Row, M], Hashable]
    asked: Callable[[M], Hashable]
    splits: Mapping[str, Callable[[Row, M], str]]
    stored: Callable[[Facts], Sequence[M]]
    given: Callable[[Facts, Sequence[M]], Facts]
    predict: Callable[[Facts, Sequence[M]], Sequence[Predicted | str]]
    started_from: str = ""
    alternatives: Callable[[M], str] | None = None


@dataclass(frozen=True)
class Case(Generic[M]):
    """One row that can be compared: where it stands, the fact in it, and what it observed."""

    row: Row
    fact: M
    observed: Mapping[str, float]
