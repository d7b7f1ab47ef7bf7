"""How wrong step times are, on measured and published training steps. Every figure is of this run.

    python benchmarks/training_accuracy.py               # errors, in sample and held out
    python benchmarks/training_accuracy.py --calibrate   # the tables of profiles/training/priors.py

Held out means that neither the rows nor priors fitted to them are known: the starting point is ``FIRST``, which was
never fitted. Data: both files of steps in ../shared/data/training, and the published steps in the catalogue.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from profiles.catalogue import load
from profiles.ingest import survey_training
from profiles.names import KnownNames
from profiles.performance.answers import Floats
from profiles.training.coefficients import NAMES, Coefficients
from profiles.training.learn import Learned, learn
from profiles.training.observed import observed
from profiles.training.performance import TrainingPerformance
from profiles.training.priors import FIRST, SHIPPED, Prior
from profiles.training.rows import ran
from profiles.types import Facts, TrainingMeasurement

DATA = Path(__file__).parents[2] / "shared/data/training"
CATALOGUE = load()
KNOWN = KnownNames.of(CATALOGUE)
PUBLISHED = list(CATALOGUE.training_measurements)
SEEDS = range(3)

Steps = list[TrainingMeasurement]


def rows_of(file: str) -> Steps:
    found = survey_training(DATA / file, KNOWN)
    return [step for _, step in found if isinstance(step, TrainingMeasurement)]


def knowing(steps: Sequence[TrainingMeasurement]) -> Facts:
    return Facts(
        gpus=CATALOGUE.gpus, models=CATALOGUE.models, training_measurements=tuple(steps),
        collectives=CATALOGUE.collectives,
    )  # fmt: skip


def errors(steps: Steps, learned_from: Steps, prior: Prior) -> tuple[Floats, Floats]:
    """Relative errors, and whether each step is inside its interval."""
    model = TrainingPerformance(knowing(learned_from), prior)
    found, inside = [], []
    for step in steps:
        row = ran(step, KNOWN)
        asked = {
            "sequence_length": row.sequence_length,
            "framework": row.framework,
            "fused_attention": row.fused_attention,
        }
        told = model.step_time(row.shape, row.layout, row.machine, **asked)
        step_ms, error = told.step_ms[0], told.error[0]
        found.append(step_ms / step.measured_step_ms - 1)
        inside.append(step_ms / (1 + error) <= step.measured_step_ms <= step_ms * (1 + error))
    return np.array(found), np.array(inside, dtype=float)


def left_out(steps: Steps, key: Callable[[int, TrainingMeasurement], object], others: Steps) -> tuple[Floats, Floats]:
    """Each fold's rows from the others, starting from ``FIRST``."""
    keys = [str(key(i, step)) for i, step in enumerate(steps)]
    found, inside = np.zeros(len(steps)), np.zeros(len(steps))
    for fold in sorted(set(keys)):
        held = [i for i, name in enumerate(keys) if name == fold]
        rest = [step for step, name in zip(steps, keys, strict=True) if name != fold]
        found[held], inside[held] = errors([steps[i] for i in held], rest + others, FIRST)
    return found, inside


def tell(name: str, found: Floats, inside: Floats) -> None:
    size = np.abs(found)
    print(
        f"{name:58s} {size.mean():6.1%} mean {np.median(size):6.1%} median {size.max():6.1%} worst "
        f"{inside.mean():5.0%} inside their 90% interval ({len(found)} rows)"
    )


def accuracy() -> None:
    multi, fsdp = rows_of("a100_iteration_times_multi_node.csv"), rows_of("fsdp_throughput_measured.csv")
    by_model = {model: [step for step in multi if step.model == model] for model in sorted({s.model for s in multi})}
    print("As shipped (these rows are in the priors)")
    tell("multi-node file", *errors(multi, PUBLISHED, SHIPPED))
    tell("FSDP file", *errors(fsdp, PUBLISHED, SHIPPED))
    tell("Megatron 2021 table", *errors([s for s in PUBLISHED if s.as_of.year == 2021], PUBLISHED, SHIPPED))
    tell("sequence-parallelism table", *errors([s for s in PUBLISHED if s.as_of.year == 2022], PUBLISHED, SHIPPED))
    print("Never fitted to any step")
    for name, steps in (("multi-node file", multi), ("FSDP file", fsdp), ("published tables", PUBLISHED)):
        tell(name, *errors(steps, [], FIRST))
    print("Held out")
    for model, steps in by_model.items():
        rest = [step for step in multi if step.model != model]
        tell(f"multi-node file: {model} from the other model", *errors(steps, rest, FIRST))
    for seed in SEEDS:
        folds = np.random.default_rng(seed).permutation(len(multi)) % 5
        tell(f"multi-node file: five folds, seed {seed}", *left_out(multi, lambda i, _, folds=folds: folds[i], []))
    tell("multi-node file from the FSDP file and published steps", *errors(multi, fsdp + PUBLISHED, FIRST))
    tell("FSDP file: each model from the others", *left_out(fsdp, lambda _, step: step.model, []))
    tell("FSDP file: each GPU count from the others", *left_out(fsdp, lambda _, step: step.num_gpus, []))
    tell("FSDP file: each GPU type from the others", *left_out(fsdp, lambda _, step: step.gpu, []))
    tell("published tables from both files", *errors(PUBLISHED, multi + fsdp, FIRST))


def calibrate() -> None:
    steps = rows_of("a100_iteration_times_multi_node.csv") + rows_of("fsdp_throughput_measured.csv") + PUBLISHED
    learned = learn(observed(knowing(steps)), FIRST)
    shifts = shared_shifts(learned)
    frameworks, architectures = sorted({*learned.places[:, 0]} - {""}), sorted({*learned.places[:, 1]})
    print("frameworks", frameworks, "architectures", architectures)
    medians = Coefficients.of(FIRST.common + shifts["all"])
    for k, name in enumerate(NAMES):
        cells = [f"{getattr(medians, name):.3g}"] + [f"{shifts[p][k]:.2f}" for p in (*frameworks, *architectures)]
        print(f'    "{name}": ({", ".join(cells)}),')
    for place, left_over in learned.left_over.items():
        spots = np.unique(left_over.spots, axis=0)
        values = zip(*np.round(np.exp(spots)).astype(int).T.tolist(), left_over.at(spots).tolist(), strict=True)
        print(f"    {place}: ({', '.join(f'({tp}, {hidden}, {value:.2f})' for tp, hidden, value in values)}),")
    print({framework: round(spread, 2) for framework, spread in learned.spread.items()})


def shared_shifts(learned: Learned) -> dict[str, Floats]:
    """What all rows moved the common coefficients by, and those of each framework and architecture its own."""
    pulled = learned.slope * learned.pull[:, None]
    shifts = {"all": FIRST.widths[:, 0] ** 2 * pulled.sum(axis=0)}
    for level in (0, 1):
        for name in sorted(set(learned.places[:, level])):
            shifts[name] = FIRST.widths[:, 1 + level] ** 2 * pulled[learned.places[:, level] == name].sum(axis=0)
    return shifts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibrate", action="store_true", help="print the tables of profiles/training/priors.py")
    calibrate() if parser.parse_args().calibrate else accuracy()
