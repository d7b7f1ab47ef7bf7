"""Measured facts as what coefficients are learned from: steps, matrix products and collectives.

Each block of rows tells the seconds that they should have taken at any coefficients; ``learn`` compares that with what
they took. Facts that the model cannot place (an unknown GPU, framework or shape) teach nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from profiles.errors import InvalidInput
from profiles.names import KnownNames
from profiles.performance.answers import Floats
from profiles.training.coefficients import Coefficients
from profiles.training.collectives import all_reduce_s, all_to_all_s, gather_s, ring, send_s
from profiles.training.priors import FAMILY, Place
from profiles.training.products import product_s
from profiles.training.remainder import spots_of
from profiles.training.rows import Ran, ran, stack, typical_machine
from profiles.training.sizes import speeds_of, stacked
from profiles.training.time import parts
from profiles.types import Facts, GemmMeasurement, TrainingMeasurement

MOST_PRODUCTS = 200
"""Of one GPU's sweep that count: evenly chosen from a larger one."""

MOST_STEPS = 1500
"""That are learned from, evenly chosen from more: time grows with their cube."""

LEAST_SIDE = 256
"""Of a product that counts: smaller ones measure launches."""

NO_FRAMEWORK = ""
"""Products and collectives are of no framework."""

STEP_NOISE, PRODUCT_NOISE, COLLECTIVE_NOISE = 0.03, 0.10, 0.05
"""Spread of the logarithm of measured times around the physics, outliers aside."""

ALONE = 0.10
"""How far products and collectives measured by themselves may differ, all together, from the same within a step, where
clocks are lower and links shared: an assumption."""


@dataclass(frozen=True, eq=False)
class Observed:
    """N rows of one kind.

    Attributes
    ----------
    log_s:
        (N,) logarithms of measured seconds
    places:
        (N,) framework and architecture of each
    noise, apart:
        spread of the rows, and of what all of them may be off together
    seconds:
        (…, N) as physics has them, at coefficients that broadcast against (N,)
    spots:
        (N, 2) of steps: where something may be left over (``remainder``)
    """

    log_s: Floats
    places: tuple[Place, ...]
    noise: float
    apart: float
    seconds: Callable[[Coefficients], Floats]
    spots: Floats | None = None


def place_of(framework: str, architecture: str) -> Place:
    """Where coefficients of ``framework`` on GPUs of ``architecture`` are shared."""
    return FAMILY.get(framework, framework), architecture


def usable(facts: Facts) -> list[tuple[TrainingMeasurement, Ran]]:
    """The measured steps that say enough to be predicted, with what they ran."""
    known, found = KnownNames.of(facts), []
    for step in facts.training_measurements:
        with suppress(InvalidInput):
            found.append((step, ran(step, known)))
    return found


def observed(facts: Facts) -> list[Observed]:
    """All that ``facts`` tell of coefficients."""
    steps = usable(facts)
    blocks = [*([_steps(steps)] if steps else []), _products(facts), _collectives(facts)]
    return [block for block in blocks if len(block.log_s)]


def _steps(rows: Sequence[tuple[TrainingMeasurement, Ran]]) -> Observed:
    rows = rows[:: -(-len(rows) // MOST_STEPS)]
    what = stack([row for _, row in rows])
    return Observed(
        np.log([step.measured_step_ms / 1e3 for step, _ in rows]),
        tuple(place_of(row.framework, row.machine.gpu.architecture) for _, row in rows),
        STEP_NOISE,
        0.0,
        lambda c: parts(what.layouts, what.sizes, what.speeds, what.habits, c).step_ms / 1e3,
        spots_of(what.layouts.tp, what.sizes.hidden),
    )


def _products(facts: Facts) -> Observed:
    gpus = {gpu.name: gpu for gpu in facts.gpus}
    sweeps: dict[str, list[GemmMeasurement]] = defaultdict(list)
    for product in facts.gemms:
        sixteen_bits = product.precision in ("bf16", "fp16")
        if sixteen_bits and product.gpu in gpus and min(product.m, product.n, product.k) >= LEAST_SIDE:
            sweeps[product.gpu].append(product)
    rows = [row for sweep in sweeps.values() for row in sweep[:: -(-len(sweep) // MOST_PRODUCTS)]]
    m, n, k = np.array([(row.m, row.n, row.k) for row in rows], dtype=float).reshape(-1, 3).T
    flop_per_s = np.array([gpus[row.gpu].bf16_tflops * 1e12 for row in rows])
    memory = np.array([gpus[row.gpu].memory_bandwidth_gb_per_s * 1e9 for row in rows])
    return Observed(
        np.log([row.time_us * 1e-6 for row in rows]),
        tuple((NO_FRAMEWORK, gpus[row.gpu].architecture) for row in rows),
        PRODUCT_NOISE,
        ALONE,
        lambda c: product_s(m, n, k, flop_per_s, memory, c),
    )


def _collectives(facts: Facts) -> Observed:
    gpus = {gpu.name: gpu for gpu in facts.gpus}
    rows = [row for row in facts.collectives if row.gpu in gpus]
    machines = [typical_machine(gpus[row.gpu], row.num_gpus, row.num_gpus // row.num_nodes) for row in rows]
    speeds = [speeds_of(machine) for machine in machines]
    size = np.array([row.num_gpus for row in rows], dtype=np.int64)
    num_bytes = np.array([row.num_bytes for row in rows], dtype=float)
    kinds = np.array([row.operation for row in rows])

    def seconds(c: Coefficients) -> Floats:
        links, one = stacked(speeds), np.ones_like(size)
        group = ring(one, size, links, c)
        found = gather_s(group, num_bytes, c)
        found = np.where(kinds == "all_reduce", all_reduce_s(group, num_bytes, c), found)
        found = np.where(kinds == "all_to_all", all_to_all_s(group, num_bytes, c), found)
        return np.where(kinds == "send_recv", send_s(one, num_bytes, size, links, c), found)

    places = tuple((NO_FRAMEWORK, gpus[row.gpu].architecture) for row in rows)
    return Observed(np.log([row.time_us * 1e-6 for row in rows]), places, COLLECTIVE_NOISE, ALONE, seconds)
