"""How wrong the predictions are: every row of a file of measurements, predicted and compared.

``validate(PARTS["serving"], path, facts)`` predicts from the facts as they are; with ``hold_out`` from the rest of the
file (cross-validation); ``validate_stored`` does so with what is stored. A *part* is one kind of file; a ``Report`` is
what was found, and ``parity_html`` and ``parity_png`` draw it.
"""

from __future__ import annotations

from typing import Any

from profiles.validate.parity_html import parity_html
from profiles.validate.parity_png import parity_png, require_matplotlib
from profiles.validate.part import Part
from profiles.validate.power import POWER
from profiles.validate.ranking import Ranked, Ranking
from profiles.validate.report import Compared, Contradiction, Groups, Judged, Metrics, Report, Unpredicted
from profiles.validate.run import validate, validate_stored
from profiles.validate.serving import SERVING
from profiles.validate.training import TRAINING

__all__ = [
    "PARTS",
    "Compared",
    "Contradiction",
    "Groups",
    "Judged",
    "Metrics",
    "Part",
    "Ranked",
    "Ranking",
    "Report",
    "Unpredicted",
    "parity_html",
    "parity_png",
    "require_matplotlib",
    "validate",
    "validate_stored",
]

PARTS: dict[str, Part[Any]] = {part.name: part for part in (SERVING, POWER, TRAINING)}
"""Every kind of file that can be validated, by its name on the command line."""
