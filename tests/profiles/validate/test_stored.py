"""What is stored, predicted row by row: as a file of the same rows is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from profiles.errors import InvalidInput, UnknownName
from profiles.ingest import read
from profiles.names import KnownNames
from profiles.types import Facts
from profiles.validate import PARTS, validate, validate_stored


@pytest.fixture
def stored(facts: Facts, grid: Sequence[Mapping[str, object]], write: Callable[..., Path]) -> tuple[Path, Facts]:
    """A file, and the facts with its rows in them, in the same order."""
    path = write("serving", *grid)
    found = read("inference-latency", path, KnownNames.of(facts)).batch.measurements
    return path, facts.model_copy(update={"measurements": found})


@pytest.mark.parametrize("hold_out", ["random", "lengths", "concurrency"])
def test_errors_are_those_of_a_file(stored: tuple[Path, Facts], facts: Facts, hold_out: str) -> None:
    path, known = stored
    of_file = validate(PARTS["serving"], path, facts, hold_out=hold_out)
    of_store = validate_stored(PARTS["serving"], known, hold_out=hold_out)
    assert of_store.metrics(of_store.judged) == of_file.metrics(of_file.judged)
    assert len(of_store.judged) == len(known.measurements)
    assert (of_store.file, of_store.split) == ("store", hold_out)


def test_rows_of_another_kind_are_left_out(stored: tuple[Path, Facts]) -> None:
    known = stored[1]
    silent = known.measurements[0].model_copy(update={"ttft_ms": None, "tpot_ms": None, "output_tokens_per_s": 5.0})
    mixed = known.model_copy(update={"measurements": (silent, *known.measurements[1:])})
    report = validate_stored(PARTS["serving"], mixed)
    assert [row.row for row in report.judged if row.row == 1] == []
    assert len(report.judged) == len(known.measurements) - 1
    with pytest.raises(InvalidInput, match="nothing is stored"):
        validate_stored(PARTS["power"], mixed)


def test_progress_goes_from_nothing_towards_all(stored: tuple[Path, Facts]) -> None:
    told: list[float] = []
    validate_stored(PARTS["serving"], stored[1], progress=told.append)
    assert told[0] == 0
    assert told == sorted(told)
    assert told[-1] < 1


def test_unknown_splits_are_named(stored: tuple[Path, Facts]) -> None:
    with pytest.raises(UnknownName, match="weather"):
        validate_stored(PARTS["serving"], stored[1], hold_out="weather")
