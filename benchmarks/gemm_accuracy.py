"""How well the GEMM predictor does on shapes it has not seen: five folds of a sweep.

``python benchmarks/gemm_accuracy.py SWEEP.jsonl ...`` with what `gpuplan profiles measure gpu gemm` wrote; a sweep of
a CPU (tried with --device cpu) is taken too and labelled as one. Prints errors, coverage and the time of 100,000
predictions over that of one.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from profiles.gemm import GemmPredictor
from profiles.measure import journal
from profiles.types import GemmMeasurement

FOLDS = 5


def read(path: Path) -> tuple[str, list[GemmMeasurement]]:
    """The device that was measured, and its points. A journal's, not the store's: that takes no CPU."""
    head, *lines = journal.read(path)
    run = head["run"]
    wanted = ("time_us", "mean_power_w")
    points = [
        GemmMeasurement(
            gpu=run["device"], source=str(path), as_of=run["as_of"], **line["point"],
            **{name: line["result"][name] for name in wanted if name in line["result"]},
        )
        for line in lines if "result" in line
    ]  # fmt: skip
    return run["device"], points


def cross_validate(points: list[GemmMeasurement], seed: int = 0) -> None:
    shapes = sorted({(p.m, p.n, p.k) for p in points})
    fold_of = dict(zip(shapes, np.random.default_rng(seed).permutation(len(shapes)) % FOLDS, strict=True))
    for precision in sorted({p.precision for p in points}):
        rows = [p for p in points if p.precision == precision]
        folds = np.array([fold_of[p.m, p.n, p.k] for p in rows])
        truth = np.array([p.time_us for p in rows])
        power = np.array([p.mean_power_w or np.nan for p in rows])
        guess, low, high, watts = (np.empty(len(rows)) for _ in range(4))
        for fold in range(FOLDS):
            out = folds == fold
            predictor = GemmPredictor([p for p, left in zip(rows, out, strict=True) if not left])
            asked = np.array([(p.m, p.n, p.k) for p in rows])[out].T
            told = predictor.predict(*asked, precision)
            guess[out], low[out], high[out], watts[out] = told.time_us, told.low_us, told.high_us, told.mean_power_w
        error = np.abs(guess / truth - 1)
        spread = np.sum((np.log(truth) - np.log(truth).mean()) ** 2)
        r2_log = 1 - np.sum((np.log(guess) - np.log(truth)) ** 2) / spread
        r2 = 1 - np.sum((guess - truth) ** 2) / np.sum((truth - truth.mean()) ** 2)
        inside = np.mean((low <= truth) & (truth <= high))
        print(f"  {precision:>5} {len(rows):5} shapes: "
              f"runtime mean {error.mean():6.2%} median {np.median(error):6.2%} "
              f"p90 {np.quantile(error, 0.9):6.2%}; R² {r2:.4f} (log {r2_log:.4f}); "
              f"in 90% interval {inside:.1%}")  # fmt: skip
        if not np.isnan(power).all():
            print(f"        power median error {np.nanmedian(np.abs(watts / power - 1)):.2%}")


def speed(points: list[GemmMeasurement]) -> None:
    precision = points[0].precision
    predictor = GemmPredictor([p for p in points if p.precision == precision])
    many = np.random.default_rng(1).integers(64, 4096, (3, 100_000))
    seconds = []
    for asked in (many, many[:, :1]):
        begun = time.perf_counter()
        predictor.predict(*asked, precision)
        seconds.append(time.perf_counter() - begun)
    print(f"  100,000 predictions in {seconds[0]:.2f} s, {seconds[0] / seconds[1]:.0f} times that of one")


def main(paths: list[str]) -> None:
    if not paths:
        raise SystemExit(__doc__)
    for path in paths:
        device, points = read(Path(path))
        print(f"{path}: measured on {'a CPU, NOT a GPU' if device.startswith('CPU') else device}, {FOLDS} folds")
        cross_validate(points)
        speed(points)


if __name__ == "__main__":
    main(sys.argv[1:])
