"""Jobs that compare predictions with measurements: from what was asked over HTTP to ``profiles.validate``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from api.jobs.work import Done
from api.requests import ValidationRequest
from planner.documents import validated
from planner.progress import progress
from profiles.store import snapshot
from profiles.validate import PARTS, Report, validate, validate_stored
from profiles.validate.report import RANDOM

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from profiles.types import Facts

FILE = "measurements.csv"
"""What the file is called in messages."""

MOST: dict[str, int] = {
    "predictions": 2000, "unpredicted": 200, "contradictions": 100, "groups": 300, "folds": 300, "ranked_groups": 300,
}  # fmt: skip
"""Entries of each list in an answer. Of more predictions every second, third … is there: what a plot can show."""


def validation(request: dict[str, Any], engine: Engine) -> Done:
    """Predict and compare what a ``ValidationRequest`` names; raises what ``profiles.validate`` raises."""
    asked = validated(ValidationRequest, request)
    report = _report(asked, snapshot(engine))
    return Done(result=bounded(report.document()))


def bounded(document: dict[str, Any]) -> dict[str, Any]:
    """A report's document with no list longer than ``MOST``; ``left_out`` counts, by list, what is not there."""
    kept, left_out = dict(document), {}
    for name, most in MOST.items():
        entries = document.get(name, [])
        if len(entries) > most:
            places = np.linspace(0, len(entries) - 1, most).astype(int) if name == "predictions" else range(most)
            kept[name] = [entries[place] for place in places]
            left_out[name] = len(entries) - most
    plain: dict[str, Any] = json.loads(json.dumps(kept, allow_nan=False))
    return plain | {"left_out": left_out}


def _report(asked: ValidationRequest, facts: Facts) -> Report:
    def tell(share: float) -> None:
        progress(f"predicting {asked.part}", share)

    part = PARTS[asked.part]
    tell(0.0)
    if asked.csv is None:
        return validate_stored(part, facts, hold_out=asked.hold_out or RANDOM, seed=asked.seed, progress=tell)
    with tempfile.TemporaryDirectory(prefix="gpuplan-validate-") as directory:
        file = Path(directory) / FILE
        file.write_text(asked.csv, encoding="utf-8")
        return validate(part, file, facts, hold_out=asked.hold_out, seed=asked.seed, progress=tell)
