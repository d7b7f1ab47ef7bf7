"""Cross-validation: what is held out cannot be known to the model that predicts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from profiles.errors import UnknownName
from profiles.types import Facts, Measurement
from profiles.validate import PARTS, Part, Report, validate
from profiles.validate.part import Predicted

Write = Callable[..., Path]
Grid = Sequence[Mapping[str, object]]
SPLITS = ["tp", "lengths", "concurrency", "model", "gpu", "random"]


class Spy:
    """Stands in for a part's predictions and keeps what they were asked: (measured facts, rows to predict)."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[Measurement, ...], tuple[Measurement, ...]]] = []

    def __call__(self, facts: Facts, rows: Sequence[Measurement]) -> list[Predicted | str]:
        self.asked.append((facts.measurements, tuple(rows)))
        return ["not asked to predict"] * len(rows)

    def part(self, name: str = "serving") -> Part[Measurement]:
        return replace(PARTS[name], predict=self)


def predictions(report: Report) -> dict[int, tuple[str, list[float]]]:
    return {row.row: (row.fold, [pair.predicted for pair in row.compared.values()]) for row in report.judged}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("copies", [1, 2])
def test_an_absurd_row_does_not_influence_its_own_prediction(
    split: str, copies: int, write: Write, grid: Grid, facts: Facts
) -> None:
    absurd = {**grid[7], "ttft_ms": 3e6, "tpot_ms": 9e4}
    sane = validate(PARTS["serving"], write("serving", *grid, *[grid[7]] * (copies - 1)), facts, hold_out=split)
    changed = [absurd if row is grid[7] else row for row in grid] + [absurd] * (copies - 1)
    mad = validate(PARTS["serving"], write("serving", *changed), facts, hold_out=split)
    line = 7 + 2
    assert predictions(mad)[line] == predictions(sane)[line]
    if split not in ("model", "gpu"):  # the file has one of each
        assert predictions(mad) != predictions(sane)  # others did learn from it


@pytest.mark.parametrize("split", SPLITS)
def test_store_measurements_are_not_learned_from(split: str, write: Write, grid: Grid, facts: Facts) -> None:
    spy, path = Spy(), write("serving", *grid)
    validate(spy.part(), path, facts)
    ((_, rows),) = spy.asked
    stored = facts.model_copy(update={"measurements": tuple(m.model_copy(update={"tpot_ms": 1e5}) for m in rows)})
    with_store = validate(PARTS["serving"], path, stored, hold_out=split)
    without = validate(PARTS["serving"], path, facts, hold_out=split)
    assert predictions(with_store) == predictions(without)
    assert with_store.profile_digest == without.profile_digest


@pytest.mark.parametrize("split", SPLITS)
def test_folds_share_the_file_and_nothing_else(split: str, write: Write, grid: Grid, facts: Facts) -> None:
    spy, path = Spy(), write("serving", *grid, grid[0], grid[5])
    validate(spy.part(), path, facts, hold_out=split)
    assert sorted(m.digest for _, rows in spy.asked for m in rows) == sorted(
        m.digest for m in _rows(path, facts)
    )  # each row once, copies included
    for learned, rows in spy.asked:
        assert not {m.digest for m in learned} & {m.digest for m in rows}
        assert len(learned) + len(set(rows)) == len(grid)


@pytest.mark.parametrize(
    ("split", "folds"),
    [
        ("tp", ["tp 1", "tp 2", "tp 4"]),
        ("lengths", ["512 in, 256 out", "2048 in, 256 out"]),
        ("concurrency", ["4 in flight", "16 in flight", "64 in flight"]),
        ("model", ["meta-llama/Llama-3.1-8B-Instruct"]),
        ("gpu", ["H100"]),
        ("random", ["fold 1", "fold 2", "fold 3", "fold 4", "fold 5"]),
    ],
)
def test_each_value_is_left_out_once_in_order(
    split: str, folds: list[str], write: Write, grid: Grid, facts: Facts
) -> None:
    report = validate(PARTS["serving"], write("serving", *grid), facts, hold_out=split)
    assert [fold for (fold,) in report.folds()] == folds
    assert sum(map(len, report.folds().values())) == len(grid)


def test_what_is_left_out_is_all_of_it(write: Write, grid: Grid, facts: Facts) -> None:
    spy = Spy()
    validate(spy.part(), write("serving", *grid), facts, hold_out="tp")
    for learned, rows in spy.asked:
        assert len({m.tp for m in rows}) == 1
        assert {m.tp for m in learned} == {1, 2, 4} - {m.tp for m in rows}


@pytest.mark.parametrize("split", ["batch", "concurrency"])
def test_power_leaves_out_the_batch_that_was_set(split: str, write: Write, facts: Facts) -> None:
    changes = [{"max_batch": batch, "mean_batch": batch - 0.1 * i} for batch in (8, 16, 32) for i in range(3)]
    report = validate(PARTS["power"], write("power", *changes), facts, hold_out=split)
    assert {fold: len(rows) for (fold,), rows in report.folds().items()} == {"batch 8": 3, "batch 16": 3, "batch 32": 3}


def test_random_folds_are_equal_for_equal_seeds_and_differ_otherwise(write: Write, grid: Grid, facts: Facts) -> None:
    path = write("serving", *grid)
    first, again, other = (validate(PARTS["serving"], path, facts, hold_out="random", seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert predictions(first) != predictions(other)


def test_a_model_that_was_never_seen_is_a_roofline_and_a_note_says_so(write: Write, grid: Grid, facts: Facts) -> None:
    report = validate(PARTS["serving"], write("serving", *grid), facts, hold_out="model")
    assert {row.origin for row in report.judged} == {"roofline"}
    assert any("datasheets" in note for note in report.notes)


def test_a_split_that_a_part_does_not_have_is_refused(write: Write, facts: Facts) -> None:
    for part in PARTS:
        with pytest.raises(UnknownName, match="lengths") as error:
            validate(PARTS[part], write(part, {}), facts, hold_out="lenghts")
        assert error.value.field == "--hold-out"
        assert error.value.fix is not None
        assert all(split in error.value.fix for split in (*PARTS[part].splits, "random"))


def _rows(path: Path, facts: Facts) -> list[Measurement]:
    spy = Spy()
    validate(spy.part(), path, facts)
    return list(spy.asked[0][1])
