"""The built-in facts: GPUs, instance types, prices, grids, models and a first set of measurements.

Each table is a CSV file beside this module whose columns are the fields of its type in ``profiles.types``;
every row names its ``source`` and ``as_of`` date. ``README.md`` beside them says how the rows were chosen.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources
from typing import TypeVar

from profiles.types import (
    BandwidthMeasurement,
    Batch,
    CollectiveMeasurement,
    Fact,
    GemmMeasurement,
    GpuType,
    GridIntensity,
    InstanceType,
    LayerMeasurement,
    Measurement,
    ModelCard,
    Price,
    TrainingMeasurement,
)

AnyFact = TypeVar("AnyFact", bound=Fact)


@cache
def load() -> Batch:
    """All built-in facts, validated row by row. Read once per process; a bad row is a defect and raises as it is."""
    return Batch(
        gpus=_read("gpus.csv", GpuType),
        instances=_read("instances.csv", InstanceType),
        prices=_read("prices.csv", Price),
        grid=_read("grid.csv", GridIntensity),
        models=_read("models.csv", ModelCard),
        measurements=_read("measurements.csv", Measurement),
        layer_measurements=_read("layer_measurements.csv", LayerMeasurement),
        gemms=_read("gemms.csv", GemmMeasurement),
        bandwidths=_read("bandwidths.csv", BandwidthMeasurement),
        training_measurements=_read("training.csv", TrainingMeasurement),
        collectives=_read("collectives.csv", CollectiveMeasurement),
    )


def _read(file: str, fact: type[AnyFact]) -> tuple[AnyFact, ...]:
    text = resources.files(__name__).joinpath(file).read_text(encoding="utf-8")
    return tuple(fact.model_validate(_present(row)) for row in csv.DictReader(text.splitlines(), strict=True))


def _present(row: dict[str, str]) -> dict[str, str | list[str]]:
    """The cells that hold something: a blank cell is the field's default. ``aliases`` are separated by semicolons."""
    return {name: cell.split(";") if name == "aliases" else cell for name, cell in row.items() if cell}
