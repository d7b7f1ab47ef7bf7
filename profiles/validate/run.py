"""One validation from end to end: read, split, predict, compare."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from profiles.errors import InvalidInput, UnknownName
from profiles.ingest import Row
from profiles.ingest.problems import counted
from profiles.names import KnownNames
from profiles.types import Facts, content_digest
from profiles.validate.folds import Fold, folds, identity
from profiles.validate.part import Case, M, Part, Predicted
from profiles.validate.ranking import ranking
from profiles.validate.report import RANDOM, STORE, Compared, Contradiction, Judged, Report, Unpredicted

Progress = Callable[[float], None]
"""Takes how much is done, a share of 1."""


def untold(_: float) -> None:
    """Progress that nobody asked for."""


def validate(
    part: Part[M], path: Path, facts: Facts, *, hold_out: str | None = None, seed: int = 0, progress: Progress = untold
) -> Report:
    """Predict every row of ``path`` and compare.

    Predictions come from ``facts`` as they are. With ``hold_out`` they come from the rest of the file instead, and of
    ``facts`` only the GPUs and models count. Every row is in the report: predicted, or named with the reason why not.

    Raises
    ------
    InvalidInput
        If the file as a whole is unusable: not such a table, or without rows.
    UnknownName
        If ``hold_out`` is not one of the part's splits, nor ``random``.
    """
    cases, unpredicted = _sorted(part, path, facts)
    return _report(part, path.name, cases, unpredicted, facts, hold_out, seed, progress)


def validate_stored(
    part: Part[M], facts: Facts, *, hold_out: str = RANDOM, seed: int = 0, progress: Progress = untold
) -> Report:
    """As ``validate``, for what ``facts`` hold of this kind: each row is predicted from the others.

    Rows are counted from 1 as they are stored. What the part cannot compare is of another kind, and left out.

    Raises
    ------
    InvalidInput
        If nothing of this kind is stored.
    UnknownName
        If ``hold_out`` is not one of the part's splits, nor ``random``.
    """
    cases: list[Case[M]] = []
    for place, fact in enumerate(part.stored(facts), 1):
        with suppress(InvalidInput):
            cases.append(Case(Row(STORE, place, {}), fact, part.observe(fact)))
    if not cases:
        raise InvalidInput(f"nothing is stored that {part.name} predictions could be compared with", field="part",
                           fix="import measurements first (gpuplan profiles formats)")  # fmt: skip
    return _report(part, STORE, cases, [], facts, hold_out, seed, progress)


def _report(
    part: Part[M], name: str, cases: Sequence[Case[M]], unpredicted: list[Unpredicted], facts: Facts,
    hold_out: str | None, seed: int, progress: Progress,
) -> Report:  # fmt: skip
    if hold_out is None:
        planned, used = [Fold(STORE, tuple(range(len(cases))), facts)], facts
    else:
        planned = folds(part, cases, facts, hold_out, seed)
        used = part.given(facts, [case.fact for case in cases])
    in_store = 0 if hold_out else _num_in_store(part, cases, facts)
    judged: list[Judged] = []
    ranked: list[tuple[str, float, float]] = []
    for done, fold in enumerate(planned):
        progress(done / len(planned))
        found = part.predict(fold.facts, [cases[i].fact for i in fold.held_out])
        for i, answer in zip(fold.held_out, found, strict=True):
            if isinstance(answer, str):
                unpredicted.append(Unpredicted(cases[i].row.line, answer))
            else:
                judged.append(_judged(part, cases[i], answer, fold.name))
                if part.alternatives is not None:
                    first = judged[-1].compared[part.quantities[0]]
                    ranked.append((part.alternatives(cases[i].fact), first.predicted, first.measured))
    return Report(
        part=part.name,
        file=name,
        split=hold_out or STORE,
        seed=seed if hold_out == RANDOM else None,
        profile_digest=used.digest or content_digest(used.model_dump_json(exclude={"digest"})),
        quantities=part.quantities,
        judged=tuple(judged),
        unpredicted=tuple(sorted(unpredicted, key=lambda row: row.row)),
        contradictions=tuple(contradictions(part, cases)),
        rows_readable=len(cases),
        rows_in_store=in_store,
        notes=tuple(_notes(part, hold_out, planned, in_store)),
        ranking=None if part.alternatives is None else ranking(ranked),
    )


def contradictions(part: Part[M], cases: Sequence[Case[M]]) -> Iterator[Contradiction]:
    """Points that were measured more than once, with values that differ."""
    points: dict[Hashable, list[Case[M]]] = {}
    for case in cases:
        points.setdefault(part.point(case.row, case.fact), []).append(case)
    for group in points.values():
        values = {quantity: [case.observed[quantity] for case in group] for quantity in part.quantities}
        ranges = {quantity: (min(seen), max(seen)) for quantity, seen in values.items() if min(seen) < max(seen)}
        if ranges:
            yield Contradiction(tuple(case.row.line for case in group), ranges)


def _sorted(part: Part[M], path: Path, facts: Facts) -> tuple[list[Case[M]], list[Unpredicted]]:
    """The rows that can be compared, and those that cannot."""
    cases: list[Case[M]] = []
    unpredicted: list[Unpredicted] = []
    for row, told in part.read(path, KnownNames.of(facts)):
        try:
            if isinstance(told, InvalidInput):
                raise told
            cases.append(Case(row, told, part.observe(told)))
        except InvalidInput as problem:
            unpredicted.append(Unpredicted(row.line, _reason(problem, row)))
    return cases, unpredicted


def _reason(problem: InvalidInput, row: Row) -> str:
    """``column: what is wrong with it``."""
    column = (problem.field or "").removeprefix(f"{row.file}:{row.line}").removeprefix(": ")
    close = problem.suggestions if isinstance(problem, UnknownName) else []
    meant = f"; did you mean {' or '.join(close)}?" if close else ""
    return (f"{column}: " if column else "") + problem.detail + meant


def _judged(part: Part[M], case: Case[M], answer: Predicted, fold: str) -> Judged:
    compared = {
        quantity: Compared(value, case.observed[quantity], interval)
        for quantity, (value, interval) in answer.values.items()
    }
    fact = case.fact
    return Judged(case.row.line, fact.model, fact.gpu, part.label(fact), answer.origin, fold, compared)


def _num_in_store(part: Part[M], cases: Sequence[Case[M]], facts: Facts) -> int:
    """How many of the rows the store was told already, value for value."""
    stored = set()
    for fact in part.stored(facts):
        with suppress(InvalidInput):  # what cannot be compared is none of these rows
            stored.add(identity(part.asked(fact), part.observe(fact)))
    return sum(identity(part.asked(case.fact), case.observed) in stored for case in cases)


def _notes(part: Part[M], hold_out: str | None, planned: Sequence[Fold], in_store: int) -> Iterator[str]:
    if in_store:
        yield (
            f"{counted(in_store, 'row')} of the file are in the store: there the error is that of the fit. "
            "Leaving rows out says how wrong new ones would be."
        )
    if hold_out and part.started_from:
        yield part.started_from
    if hold_out == RANDOM:
        yield (
            "Random folds keep copies of a row together, but leave its near neighbours to learn from: expect larger "
            f"errors for what is new (leave out whole groups: {', '.join(part.splits)})."
        )
    empty = [fold.name for fold in planned if hold_out and not part.stored(fold.facts)]
    if empty:
        yield f"Without {', '.join(empty)} the file has no rows to learn from: those predictions are from datasheets."
