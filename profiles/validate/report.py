"""What a validation found: every row's prediction beside its measurement, and the errors summed up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np

from profiles.types import Origin
from profiles.validate.ranking import Ranking

STORE = "store"
"""The split of a report whose predictions all came from the store."""

RANDOM = "random"
"""The split into random folds."""

HELD_OUT = {"lengths": "set of lengths", "tp": "TP degree", "gpu": "GPU type", "gpus": "number of GPUs"}
"""What splits leave out, where their name does not say it."""


@dataclass(frozen=True)
class Compared:
    """One quantity of one row: its value in the model and in the file, and the ``r`` of its 90% interval."""

    predicted: float
    measured: float
    interval: float

    @property
    def relative_error(self) -> float:
        """``predicted / measured − 1``."""
        return self.predicted / self.measured - 1

    @property
    def inside(self) -> bool:
        """Whether the measurement lies in ``[predicted / (1 + r), predicted · (1 + r)]``."""
        return self.predicted / (1 + self.interval) <= self.measured <= self.predicted * (1 + self.interval)


@dataclass(frozen=True)
class Judged:
    """One row that was predicted; ``row`` is its line in the file and ``fold`` what was left out to predict it."""

    row: int
    model: str
    gpu: str
    label: str
    origin: str
    fold: str
    compared: Mapping[str, Compared]


Groups = dict[tuple[str, ...], list[Judged]]


@dataclass(frozen=True)
class Unpredicted:
    """One row (its line in the file) that was not predicted, and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class Contradiction:
    """Rows (lines of the file) of one and the same point, and the least and greatest value of what differs."""

    rows: tuple[int, ...]
    ranges: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Metrics:
    """Errors of one quantity as fractions of the measured value; None where no row was predicted.

    ``mape``, ``median_ape``, ``p90_ape``: mean, median and 90th percentile of ``|predicted / measured − 1|``;
    ``coverage``: share of rows inside their own 90% interval.
    """

    mape: float | None = None
    median_ape: float | None = None
    p90_ape: float | None = None
    coverage: float | None = None


@dataclass(frozen=True)
class Report:
    """One validation.

    ``split`` is ``STORE``, or what was held out. Of the file's rows ``rows_readable`` could be compared at all, and
    ``rows_in_store`` were known to the model.
    """

    part: str
    file: str
    split: str
    seed: int | None
    profile_digest: str
    quantities: tuple[str, ...]
    judged: tuple[Judged, ...]
    unpredicted: tuple[Unpredicted, ...]
    contradictions: tuple[Contradiction, ...]
    rows_readable: int
    rows_in_store: int
    notes: tuple[str, ...]
    ranking: Ranking | None = None
    """Of rows that are alternatives, in files that have such."""

    @property
    def source(self) -> str:
        """What the rows were predicted from, in words."""
        known = {STORE: "from the store", RANDOM: "in random folds of the file"}
        held_out = HELD_OUT.get(self.split, self.split)
        return known.get(self.split, f"leaving out each {held_out} of the file")

    def metrics(self, judged: Sequence[Judged]) -> dict[str, Metrics]:
        """Errors over the rows ``judged``, by quantity."""
        return {quantity: summed_up([row.compared[quantity] for row in judged]) for quantity in self.quantities}

    def groups(self) -> Groups:
        """The predicted rows by model and GPU, in the order of the names."""
        return dict(sorted(self._by(lambda row: (row.model, row.gpu)).items()))

    def origins(self) -> Groups:
        """The predicted rows by what their prediction rests on, the surest first."""
        found = self._by(lambda row: (row.origin,))
        return {(origin,): found[origin,] for origin in get_args(Origin) if (origin,) in found}

    def folds(self) -> Groups:
        """The predicted rows by what was held out; nothing when all came from the store."""
        return {} if self.split == STORE else self._by(lambda row: (row.fold,))

    def document(self) -> dict[str, Any]:
        """The report as JSON values, with the keys of the contract."""
        return {
            "part": self.part,
            "file": self.file,
            "split": self.split,
            "seed": self.seed,
            "profile_digest": self.profile_digest,
            **self._errors(self.judged),
            **self._ranked(),
            "rows_in_store": self.rows_in_store,
            "unpredicted": [asdict(row) for row in self.unpredicted],
            "contradictions": [asdict(found) for found in self.contradictions],
            "groups": self._broken_down(("model", "gpu"), self.groups()),
            "origins": self._broken_down(("origin",), self.origins()),
            "folds": self._broken_down(("held_out",), self.folds()),
            "predictions": [asdict(row) for row in self.judged],
            "notes": list(self.notes),
        }

    def _ranked(self) -> dict[str, Any]:
        if self.ranking is None:
            return {}
        names = ("spearman_within_group", "top1_regret_mean", "top1_regret_max")
        groups = [asdict(group) for group in self.ranking.groups]
        return {name: getattr(self.ranking, name) for name in names} | {"ranked_groups": groups}

    def _by(self, key: Callable[[Judged], tuple[str, ...]]) -> Groups:
        found: Groups = {}
        for row in self.judged:
            found.setdefault(key(row), []).append(row)
        return found

    def _broken_down(self, names: tuple[str, ...], groups: Groups) -> list[dict[str, Any]]:
        return [dict(zip(names, group, strict=True)) | self._errors(rows) for group, rows in groups.items()]

    def _errors(self, judged: Sequence[Judged]) -> dict[str, Any]:
        return {"rows": len(judged), **{name: asdict(found) for name, found in self.metrics(judged).items()}}


def summed_up(compared: Sequence[Compared]) -> Metrics:
    """The errors of one quantity in several rows."""
    if not compared:
        return Metrics()
    errors = np.abs([pair.relative_error for pair in compared])
    return Metrics(
        mape=float(errors.mean()),
        median_ape=float(np.median(errors)),
        p90_ape=float(np.quantile(errors, 0.9)),
        coverage=float(np.mean([pair.inside for pair in compared])),
    )
