"""What is predicted from what: the whole file from the store, or each part of it from the rest."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from profiles.errors import UnknownName
from profiles.types import Facts
from profiles.validate.part import Case, M, Part
from profiles.validate.report import RANDOM

NUM_RANDOM_FOLDS = 5


@dataclass(frozen=True)
class Fold:
    """Rows ``held_out`` (places in the list of cases) and the facts that they are predicted from."""

    name: str
    held_out: tuple[int, ...]
    facts: Facts


def folds(part: Part[M], cases: Sequence[Case[M]], facts: Facts, hold_out: str, seed: int) -> list[Fold]:
    """The folds that leave out each ``hold_out`` in turn, learning from the other rows of the file alone.

    ``facts`` give the GPUs and models, none of their measurements. Copies of a row always share a fold. ``random`` is
    five folds of distinct rows, drawn by ``seed``. Raises ``UnknownName`` for what ``part`` cannot leave out.
    """
    if hold_out != RANDOM and hold_out not in part.splits:
        options = [*part.splits, RANDOM]
        raise UnknownName(
            "split", hold_out, options, field="--hold-out", fix=f"{part.name} files take {', '.join(options)}"
        )
    same: dict[Hashable, list[int]] = {}
    for i, case in enumerate(cases):
        same.setdefault(identity(part.asked(case.fact), case.observed), []).append(i)
    copies = list(same.values())
    if hold_out == RANDOM:
        drawn = np.random.default_rng(seed).permutation(len(copies)) % NUM_RANDOM_FOLDS
        names = [f"fold {k + 1}" for k in drawn]
    else:
        names = [part.splits[hold_out](cases[c[0]].row, cases[c[0]].fact) for c in copies]
    made = []
    for name in sorted(set(names), key=_naturally):
        learned = [cases[c[0]].fact for c, at in zip(copies, names, strict=True) if at != name]
        held_out = sorted(i for c, at in zip(copies, names, strict=True) if at == name for i in c)
        made.append(Fold(name, tuple(held_out), part.given(facts, learned)))
    return made


def identity(asked: Hashable, observed: Mapping[str, float]) -> Hashable:
    """What makes two rows copies of one: the same question with the same values."""
    return asked, tuple(observed.values())


def _naturally(name: str) -> list[str | int]:
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", name)]
