"""How wrong the performance model is about rows that it has not seen.

``python benchmarks/performance_accuracy.py`` cross-validates on the measured latencies and power in shared/data:
random fifths of the rows, then leaving out each pair of lengths, each TP degree, each concurrency, each model, and
each family (model × GPU × precision × engine: what a roofline is then). Every split is predicted twice: for any
software, and for the version that each row names. Coverage is the share of rows inside their own 90% interval, per
quantity.
``--calibrate`` prints the table of ``profiles.performance.priors``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

import numpy as np

from profiles.catalogue import load
from profiles.ingest import read
from profiles.names import KnownNames
from profiles.performance import PerformanceModel
from profiles.performance.answers import Floats
from profiles.performance.learn import Family, Numbers, learn
from profiles.performance.priors import ENGINES, TABLE, Prior
from profiles.performance.rows import software_of
from profiles.performance.terms import COEFFICIENTS, MEMORY
from profiles.types import Facts, Layout, Measurement

DATA = next((p / "shared/data" for p in Path(__file__).parents if (p / "shared/data").exists()), Path("shared/data"))
SPLITS: dict[str, Callable[[Measurement], Hashable]] = {
    "lengths left out": lambda m: (m.input_tokens, m.output_tokens),
    "TP left out": lambda m: m.tp,
    "concurrency left out": lambda m: m.concurrency,
    "model left out": lambda m: m.model,
    "family left out": lambda m: (m.model, m.gpu, m.precision, m.engine),
}
QUANTITIES = ("TPOT", "TTFT", "throughput")
ROUNDS, FEW_ROWS, ENGINE_PULL = 6, 12, 2.0
"""Of calibration: rounds, rows below which a family has no vote, and votes that engines being alike is worth."""


def measured(format_name: str, file: str) -> list[Measurement]:
    """Distinct measurements of a shared file."""
    found = read(format_name, DATA / file, KnownNames.of(load())).batch.measurements
    return list({m.digest: m for m in found}.values())


def model_of(rows: list[Measurement]) -> PerformanceModel:
    return PerformanceModel(Facts(gpus=load().gpus, models=load().models, measurements=tuple(rows)))


def random_fifths(rows: list[Measurement], seed: int) -> Iterator[set[int]]:
    fold = np.random.default_rng(seed).permutation(len(rows)) % 5
    return ({int(i) for i in np.flatnonzero(fold == k)} for k in range(5))


def each_left_out(rows: list[Measurement], key: Callable[[Measurement], Hashable]) -> Iterator[set[int]]:
    groups: dict[Hashable, set[int]] = {}
    for i, m in enumerate(rows):
        groups.setdefault(key(m), set()).add(i)
    return iter(groups.values())


def judge_latency(rows: list[Measurement], folds: Iterator[set[int]], *, by_software: bool) -> str:
    """One line: per quantity mean and median error and coverage, of all rows and by origin."""
    ratios: list[Floats] = []
    widths: list[Floats] = []
    origins: list[str] = []
    for held_out in folds:
        model = model_of([m for i, m in enumerate(rows) if i not in held_out])
        alike: dict[tuple[Layout, str | None], list[Measurement]] = {}
        for i in sorted(held_out):
            alike.setdefault((rows[i].layout, software_of(rows[i]) if by_software else None), []).append(rows[i])
        for (layout, software), group in alike.items():
            points = np.array([(m.input_tokens, m.output_tokens, m.concurrency, m.ttft_ms, m.tpot_ms) for m in group])
            tokens_in, tokens_out, in_flight, ttft_ms, tpot_ms = points.astype(float).T
            found = model.predict(layout, tokens_in, tokens_out, in_flight, software=software)
            e2e_ms = ttft_ms + (tokens_out - 1) * tpot_ms
            ratios.append(np.stack([found.tpot_ms / tpot_ms, found.ttft_ms / ttft_ms, e2e_ms / found.e2e_ms]))
            widths.append(np.stack([found.tpot_error, found.ttft_error, found.throughput_error]))
            origins += found.origin.tolist()
    ratio, width, origin = np.hstack(ratios), np.hstack(widths), np.array(origins)
    inside = np.maximum(ratio, 1 / ratio) <= 1 + width
    parts = [
        f"{name} {np.mean(error):5.1%} (median {np.median(error):5.1%}, inside {np.mean(covered):.0%})"
        for name, error, covered in zip(QUANTITIES, np.abs(ratio - 1), inside, strict=True)
    ]
    for kind in np.unique(origin):
        shares = "/".join(f"{share:.0%}" for share in inside[:, origin == kind].mean(axis=1))
        parts.append(f"{kind} {shares} of {(origin == kind).sum()}")
    return "  ".join(parts)


def judge_power(rows: list[Measurement]) -> str:
    missed = []
    for held_out in random_fifths(rows, 0):
        model = model_of([m for i, m in enumerate(rows) if i not in held_out])
        for m in (rows[i] for i in held_out):
            found = model.predict(m.layout, m.input_tokens or 256, m.output_tokens or 256, m.concurrency or 1)
            missed.append(abs(found.power_w.item() / (m.mean_power_w or np.nan) - 1))
    return f"power {np.nanmean(missed):.1%} (median {np.nanmedian(missed):.1%})"


def calibrate(rows: list[Measurement]) -> None:
    """Empirical Bayes: fit all families, set medians and widths to what they show, and again."""
    model = model_of(rows)
    for layout in {m.layout: None for m in rows}:
        model._family(layout, by_software=True)
    families = [(key[3], list(f.members.values())) for (key, by_software), f in model._families.items() if by_software]
    fitted = np.arange(len(COEFFICIENTS)) != MEMORY
    engine = np.array([name for name, _ in families])
    for _ in range(ROUNDS):
        prior = Prior(*TABLE[:, 4:].T)
        found = [learn(members, name, prior, by_software=True) for name, members in families]
        deviations = [moments(f, np.arange(len(f.row)), prior.family) for f in found]
        shift, spread = (np.array(values) for values in zip(*deviations, strict=True))
        near = [members[0].sheet.nodes == 1 for _, members in families]
        votes = np.array([len(f.layout) >= FEW_ROWS for f in found]) & near
        middle = np.median(shift[votes], axis=0)
        TABLE[fitted, 0] *= np.exp(middle)[fitted]
        apart = shift - middle
        for k, name in enumerate(ENGINES):
            same = engine == name
            common = apart[votes & same].sum(axis=0) / ((votes & same).sum() + ENGINE_PULL)
            TABLE[fitted, 1 + k] *= np.exp(common)[fitted]
            apart[same] -= common
        TABLE[fitted, 4] = np.sqrt((spread + apart**2)[votes].mean(axis=0)).clip(0.05, 1.0)[fitted]
        for column, name, width in ((5, "layout", prior.layout), (6, "software", prior.software)):
            squares = []
            for f in found:
                codes = getattr(f, name)
                for code in np.unique(codes):
                    mean, variance = moments(f, np.flatnonzero(codes[f.row] == code), width)
                    squares.append(mean**2 + variance)
            TABLE[fitted, column] = np.sqrt(np.mean(squares, axis=0)).clip(0.02, 1.0)[fitted]
    for name, row in zip(COEFFICIENTS, TABLE, strict=True):
        print(f"    ({row[0]:.3g}, {', '.join(f'{x:.2f}' for x in row[1:])}),  # {name}")


def moments(family: Family, values: Numbers, width: Floats) -> tuple[Floats, Floats]:
    """Posterior mean and variance of a deviation of prior ``width`` that acts on these values."""
    known = family.slope[values] * width**2
    precision = family.precision[np.ix_(values, values)]
    return known.T @ family.pull[values], width**2 - np.einsum("ik,ij,jk->k", known, precision, known)


def main() -> None:
    if not DATA.exists():
        print("skipped: shared/data is not here")
        return
    rows = measured("inference-latency", "serving/inference_latency_measured.csv")
    if "--calibrate" in sys.argv:
        calibrate(rows)
        return
    for by_software in (False, True):
        print("each row's own software" if by_software else "any software")
        for seed in range(3):
            print(f"{'random fifths':20}", judge_latency(rows, random_fifths(rows, seed), by_software=by_software))
        for name, key in SPLITS.items():
            print(f"{name:20}", judge_latency(rows, each_left_out(rows, key), by_software=by_software))
    print(f"{'random fifths':20}", judge_power(measured("inference-power", "power/inference_power_measured.csv")))


if __name__ == "__main__":
    main()
