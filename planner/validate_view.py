"""A validation as people see it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from planner.figures import figure
from planner.types import Table, View
from profiles.ingest.problems import counted
from profiles.validate import Groups, Ranking, Report

MOST_FARTHEST, MOST_LINES, MOST_CONTRADICTIONS = 5, 6, 10


def view(report: Report) -> View:
    """Errors overall, by origin, by model × GPU and by fold; what could not be predicted; what to mind."""
    num_rows = len(report.judged) + len(report.unpredicted)
    facts = [("profiles", report.profile_digest)]
    if report.seed is not None:
        facts.append(("seed", str(report.seed)))
    return View(
        headline=f"{report.file}: {len(report.judged)} of {num_rows} rows predicted {report.source}",
        facts=tuple(facts),
        tables=tuple(_tables(report)),
        notes=report.notes,
    )


def _tables(report: Report) -> Iterator[Table]:
    if report.judged:
        yield _overall(report)
        if report.ranking is not None and report.ranking.groups:
            yield _ranked(report.ranking)
        yield _broken_down(report, "By origin", ("origin",), report.origins())
        yield _broken_down(report, "By model and GPU", ("model", "GPU"), report.groups())
        if folds := report.folds():
            yield _broken_down(report, "By what was held out", ("held out",), folds)
        yield _farthest(report)
    if report.unpredicted:
        yield _unpredicted(report)
    if report.contradictions:
        yield _contradictory(report)


def _overall(report: Report) -> Table:
    columns = ("quantity", "mean", "median", "p90", "inside 90% interval")
    rows = tuple(
        (name, *(_percent(value) for value in (found.mape, found.median_ape, found.p90_ape, found.coverage)))
        for name, found in report.metrics(report.judged).items()
    )
    return Table(title="Error", columns=columns, rows=rows, numeric=columns[1:])


def _ranked(ranking: Ranking) -> Table:
    columns = ("alternatives", "rows", "rank correlation", "regret of the best predicted")
    rows = tuple(
        (group.alternatives, f"{group.rows:,}", f"{group.spearman:.2f}", _percent(group.top1_regret))
        for group in ranking.groups
    )
    return Table(title="Ranking of alternatives", columns=columns, rows=rows, numeric=columns[1:])


def _broken_down(report: Report, title: str, names: tuple[str, ...], groups: Groups) -> Table:
    rows = []
    for group, judged in groups.items():
        found = report.metrics(judged).values()
        cells = [f"{_percent(one.mape)} · {_percent(one.coverage, 0)}" for one in found]
        rows.append((*group, f"{len(judged):,}", *cells))
    columns = ("rows", *report.quantities)
    return Table(title=f"{title}: mean error · inside", columns=(*names, *columns), rows=tuple(rows), numeric=columns)


def _farthest(report: Report) -> Table:
    pairs = [(row, name, pair) for row in report.judged for name, pair in row.compared.items()]
    pairs.sort(key=lambda told: -abs(math.log(told[2].predicted / told[2].measured)))
    rows = tuple(
        (str(row.row), f"{row.model} on {row.label}", name, f"{figure(pair.predicted)}", f"{figure(pair.measured)}")
        for row, name, pair in pairs[:MOST_FARTHEST]
    )
    columns = ("line", "row", "quantity", "predicted", "measured")
    return Table(title="Farthest off", columns=columns, rows=rows, numeric=("line", "predicted", "measured"))


def _unpredicted(report: Report) -> Table:
    lines: dict[str, list[int]] = {}
    for row in report.unpredicted:
        lines.setdefault(row.reason, []).append(row.row)
    rows = tuple((f"{len(found):,}", _some(found), reason) for reason, found in lines.items())
    return Table(title="Not predicted", columns=("rows", "lines", "why"), rows=rows, numeric=("rows",))


def _contradictory(report: Report) -> Table:
    rows = tuple(
        (_some(found.rows), *(_range(found.ranges.get(quantity)) for quantity in report.quantities))
        for found in report.contradictions
    )
    shown = rows[:MOST_CONTRADICTIONS]
    more = "" if len(rows) == len(shown) else f", the first {len(shown)} (--json names all)"
    return Table(
        title=f"Contradictory: {counted(len(rows), 'point')} measured more than once, with other values{more}",
        columns=("lines", *report.quantities),
        rows=shown,
        numeric=report.quantities,
    )


def _range(values: tuple[float, float] | None) -> str:
    return "" if values is None else f"{figure(values[0])} to {figure(values[1])}"


def _some(lines: Sequence[int]) -> str:
    shown = ", ".join(map(str, lines[:MOST_LINES]))
    return f"{shown} …" if len(lines) > MOST_LINES else shown


def _percent(fraction: float | None, digits: int = 1) -> str:
    return "" if fraction is None else f"{fraction:.{digits}%}"
