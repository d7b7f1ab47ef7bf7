"""How wrong the power model is about rows that it has not seen.

``python benchmarks/power_accuracy.py`` cross-validates on the ML.ENERGY v3 rows in shared/data, leaving out every row
of a batch limit, single rows, layouts, models and GPU types; bars: 4% by batch, 15% by model, coverage of 85 to 95%
by a nominal 90% interval. ``--splitwise`` adds Splitwise's A100 rows to what is learned from; ``--peaks`` judges the
peaks of prompts on them; ``--calibrate`` finds the most likely widths of ``profiles.performance.power_process``, and
``--nested`` judges each half of the models with widths found on the other half.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Collection, Hashable
from pathlib import Path
from unittest.mock import patch

import numpy as np
from scipy.optimize import minimize

from profiles.catalogue import load
from profiles.errors import InvalidInput
from profiles.ingest import read
from profiles.names import KnownNames
from profiles.performance import PerformanceModel, power_process
from profiles.performance.answers import Floats
from profiles.performance.power_points import Points, new_replica, read_points
from profiles.performance.power_process import Loads, Widths, covariance, prior_log_share
from profiles.performance.rows import prompt_tokens
from profiles.types import Facts, Layout, Measurement

DATA = next((p / "shared/data" for p in Path(__file__).parents if (p / "shared/data").exists()), Path("shared/data"))
FILE = DATA / "power/inference_power_measured.csv"
Row = tuple[Measurement, dict[str, str]]
SPLITS: dict[str, Callable[[Row], Hashable]] = {
    "batch": lambda row: row[1]["max_batch"],
    "one row": lambda row: row[0].digest,
    "layout": lambda row: row[0].layout,
    "model": lambda row: row[0].model,
    "model as named": lambda row: row[1]["model"],
    "GPU type": lambda row: row[0].gpu,
}
CATALOGUE = load()
NAMES = KnownNames.of(CATALOGUE)


def power_rows() -> list[Row]:
    """Distinct measurements, each with its row as text."""
    found = read("inference-power", FILE, NAMES).batch.measurements
    with FILE.open() as file:
        return list({m.digest: (m, text) for m, text in zip(found, csv.DictReader(file), strict=True)}.values())


def splitwise_rows() -> list[Measurement]:
    found = read("splitwise", DATA / "serving/splitwise_latency_power_measured.csv", NAMES).batch.measurements
    return [m for m in found if m.mean_power_w]


def by_layout(rows: Collection[Measurement]) -> dict[Layout, list[Measurement]]:
    groups: dict[Layout, list[Measurement]] = {}
    for m in rows:
        groups.setdefault(m.layout, []).append(m)
    return groups


def left_out(
    rows: list[Row], key: Callable[[Row], Hashable], more: list[Measurement], only: Collection[str] | None = None
) -> Floats:
    """(rows, 4): power predicted / measured and its width, and the same of throughput, of each row held out."""
    groups: dict[Hashable, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(key(row), []).append(i)
    found: list[Floats] = []
    for held_out in groups.values():
        asked = [rows[i][0] for i in held_out if only is None or rows[i][0].model in only]
        kept = [m for i, (m, _) in enumerate(rows) if i not in set(held_out)] + more
        model = PerformanceModel(Facts(gpus=CATALOGUE.gpus, models=CATALOGUE.models, measurements=tuple(kept)))
        for layout, group in by_layout(asked).items():
            points = np.array([(prompt_tokens(m), m.output_tokens, m.concurrency) for m in group], dtype=np.float64)
            watts, rates = np.array([(m.mean_power_w, m.output_tokens_per_s) for m in group], dtype=np.float64).T
            try:
                told = model.predict(layout, *points.T)
                table = [
                    told.power_w / watts, told.power_error, told.output_tokens_per_s / rates, told.throughput_error,
                ]  # fmt: skip
            except InvalidInput:  # neither card nor measurement: no latency, but power by the size in its name
                power = model.power(layout)
                assert power is not None
                tokens_in, tokens_out, running = points.T
                drawn = power.mean_w(running, tokens_in, tokens_out, rates / tokens_out)
                table = [
                    drawn / watts,
                    power.error_at(running, tokens_in, tokens_out),
                    *np.full((2, len(group)), np.nan),
                ]
            found.append(np.stack(table, axis=1))
    return np.concatenate(found)


def line(ratios: Floats, widths: Floats) -> str:
    ratios, widths = ratios[np.isfinite(ratios)], widths[np.isfinite(ratios)]
    missed = np.abs(ratios - 1)
    inside = (ratios <= 1 + widths) & (ratios >= 1 / (1 + widths))
    return (
        f"mean {missed.mean():6.2%}  median {np.median(missed):6.2%}  p90 {np.quantile(missed, 0.9):6.2%}  "
        f"coverage {inside.mean():6.1%}  width {np.median(widths):6.1%}  ({len(ratios)} rows)"
    )


def judge(rows: list[Row], more: list[Measurement]) -> None:
    for name, key in SPLITS.items():
        table = left_out(rows, key, more)
        print(f"{name + ' left out':24} power       {line(table[:, 0], table[:, 1])}", flush=True)
        print(f"{'':24} throughput  {line(table[:, 2], table[:, 3])}", flush=True)


def points_of(rows: Collection[Measurement]) -> Points:
    gpus = {gpu.name: gpu for gpu in CATALOGUE.gpus}
    groups = by_layout(rows).items()
    return read_points([(new_replica(at, NAMES.model_card(at.model), gpus[at.gpu]), group) for at, group in groups])[0]


def calibrate(rows: Collection[Measurement]) -> Widths:
    """Most likely widths, with a weak pull to where we stand; the context width is held: batches of one run differ a
    little in context, and a narrow one would take their noise for its effect."""
    points = points_of(rows)
    loads = Loads(points.features, points.place, points.layout)
    off = points.log_share - prior_log_share(points.features)

    def widths(logs: Floats) -> Widths:
        *parts, running = np.exp(logs[:6])
        return Widths(*parts, running, power_process.WIDTHS.context, tuple(np.exp(logs[6:])))

    def unlikely(logs: Floats) -> float:
        at = widths(logs)
        try:
            root = np.linalg.cholesky(covariance(loads, loads, at) + at.noise**2 * np.eye(len(points)))
        except np.linalg.LinAlgError:
            return 1e9
        white = np.linalg.solve(root, off)
        return float(white @ white / 2 + np.log(np.diag(root)).sum() + 0.05 * ((logs - start) ** 2).sum())

    start = np.log([*power_process.WIDTHS[:6], *power_process.WIDTHS.lengths])
    return widths(minimize(unlikely, start, method="L-BFGS-B", options={"maxiter": 60}).x)


def nested(rows: list[Row]) -> None:
    names = sorted({m.model for m, _ in rows})
    for half, other in ((names[::2], names[1::2]), (names[1::2], names[::2])):
        found = calibrate([m for m, _ in rows if m.model in half])
        with patch.object(power_process.learn_power, "__defaults__", (found,)):
            for name in ("batch", "model"):
                table = left_out(rows, SPLITS[name], [], other)
                print(f"{name + ' left out':24} power       {line(table[:, 0], table[:, 1])}", flush=True)


def judge_peaks(rows: list[Measurement]) -> None:
    model = PerformanceModel(Facts(gpus=CATALOGUE.gpus, models=CATALOGUE.models, measurements=tuple(rows)))
    ratios, widths = [], []
    for layout, group in by_layout({(m.layout, m.input_tokens, m.concurrency): m for m in rows}.values()).items():
        power = model.power(layout)
        assert power is not None
        ratios += [
            power.peak_w(np.array(m.concurrency), m.input_tokens or 0).item() / (m.peak_power_w or 0) for m in group
        ]
        widths += [power.peak_error] * len(group)
    print(f"{'peaks of prompts, A100':24} power       {line(np.array(ratios), np.array(widths))}")


def main() -> None:
    if not DATA.exists():
        print("skipped: shared/data is not here")
        return
    rows = power_rows()
    if "--calibrate" in sys.argv:
        print(calibrate([m for m, _ in rows]))
    elif "--nested" in sys.argv:
        nested(rows)
    elif "--peaks" in sys.argv:
        judge_peaks(splitwise_rows())
    else:
        judge(rows, splitwise_rows() if "--splitwise" in sys.argv else [])


if __name__ == "__main__":
    main()
