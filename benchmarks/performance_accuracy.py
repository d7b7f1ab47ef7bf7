"""How wrong the performance model is about rows that it has not seen.

``python benchmarks/performance_accuracy.py`` cross-validates on the measured latencies and power in shared/data:
random fifths of the rows, then leaving out each pair of lengths, each TP degree, and each family (model × GPU ×
precision × engine: what a roofline is then). Coverage is the share of rows inside their own 90% interval.
``--calibrate`` prints the coefficients that ``profiles.performance.terms`` keeps as priors.
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
from profiles.performance.fit import fit_terms
from profiles.performance.systems import System, prompt_system, step_system
from profiles.performance.terms import PROMPT_PRIOR, STEP_PRIOR
from profiles.types import Facts, Layout, Measurement

DATA = next((p / "shared/data" for p in Path(__file__).parents if (p / "shared/data").exists()), Path("shared/data"))
SPLITS: dict[str, Callable[[Measurement], Hashable]] = {
    "lengths left out": lambda m: (m.input_tokens, m.output_tokens),
    "TP left out": lambda m: m.tp,
    "family left out": lambda m: (m.model, m.gpu, m.precision, m.engine),
}


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


def judge_latency(rows: list[Measurement], folds: Iterator[set[int]]) -> str:
    """One line: mean and median error of TPOT, TTFT and throughput, and coverage by origin."""
    missed: dict[str, list[float]] = {"TPOT": [], "TTFT": [], "throughput": []}
    inside: dict[str, list[bool]] = {}
    for held_out in folds:
        model = model_of([m for i, m in enumerate(rows) if i not in held_out])
        by_layout: dict[Layout, list[Measurement]] = {}
        for i in sorted(held_out):
            by_layout.setdefault(rows[i].layout, []).append(rows[i])
        for layout, group in by_layout.items():
            points = np.array([(m.input_tokens, m.output_tokens, m.concurrency, m.ttft_ms, m.tpot_ms) for m in group])
            tokens_in, tokens_out, in_flight, ttft_ms, tpot_ms = points.astype(float).T
            found = model.predict(layout, tokens_in, tokens_out, in_flight)
            e2e_ms = ttft_ms + (tokens_out - 1) * tpot_ms
            missed["TPOT"] += list(np.abs(found.tpot_ms / tpot_ms - 1))
            missed["TTFT"] += list(np.abs(found.ttft_ms / ttft_ms - 1))
            missed["throughput"] += list(np.abs(e2e_ms / found.e2e_ms - 1))
            good = np.abs(e2e_ms / found.e2e_ms - 1) <= found.relative_error
            for origin, covered in zip(found.origin, good, strict=True):
                inside.setdefault(str(origin), []).append(bool(covered))
    errors = "  ".join(f"{name} {np.mean(e):5.1%} (median {np.median(e):5.1%})" for name, e in missed.items())
    return errors + "  coverage " + ", ".join(f"{o} {np.mean(c):.0%} of {len(c)}" for o, c in sorted(inside.items()))


def judge_power(rows: list[Measurement]) -> str:
    missed = []
    for held_out in random_fifths(rows, 0):
        model = model_of([m for i, m in enumerate(rows) if i not in held_out])
        for m in (rows[i] for i in held_out):
            found = model.predict(m.layout, m.input_tokens or 256, m.output_tokens or 256, m.concurrency or 1)
            missed.append(abs(found.power_w.item() / (m.mean_power_w or np.nan) - 1))
    return f"power {np.nanmean(missed):.1%} (median {np.nanmedian(missed):.1%})"


def calibrate(rows: list[Measurement]) -> None:
    """Fit one set of coefficients to all families, each with the weight of 30 rows."""
    model = model_of(rows)
    steps: list[list[System]] = []
    prompts: list[list[System]] = []
    for layout in {m.layout: None for m in rows}:
        model.predict(layout, 1, 1, 1)
    for family, members in model._families.values():
        latencies = {layout: family.members[layout].latency for layout in members}
        steps.append([step_system(m, latencies[at].limit, latencies[at].prompt) for at, m in members.items()])
        prompts.append([prompt_system(m.sheet, m.rows, latencies[at].limit) for at, m in members.items()])
    for name, families, prior in (("STEP_PRIOR", steps, STEP_PRIOR), ("PROMPT_PRIOR", prompts, PROMPT_PRIOR)):
        sizes = [sum(len(s.target) for s in family) for family in families]
        systems = [(s, np.sqrt(30 / size)) for family, size in zip(families, sizes, strict=True) for s in family]
        found = fit_terms(
            np.concatenate([s.terms for s, _ in systems]),
            np.concatenate([s.target for s, _ in systems]),
            prior,
            pull=2.0,
            tolerance=0.3,
            row_scale=np.concatenate([s.scale / weight for s, weight in systems]),
        )
        print(name, np.round(found.coefficients, 2))


def main() -> None:
    if not DATA.exists():
        print("skipped: shared/data is not here")
        return
    rows = measured("inference-latency", "serving/inference_latency_measured.csv")
    if "--calibrate" in sys.argv:
        calibrate(rows)
        return
    for seed in range(3):
        print(f"{'random fifths':18}", judge_latency(rows, random_fifths(rows, seed)))
    for name, key in SPLITS.items():
        print(f"{name:18}", judge_latency(rows, each_left_out(rows, key)))
    print(f"{'random fifths':18}", judge_power(measured("inference-power", "power/inference_power_measured.csv")))


if __name__ == "__main__":
    main()
