"""Measure a GPU itself: ``gemm``, ``bandwidth`` or ``decoder``. Needs Python and torch, nothing else of gpuplan.

On a bare machine, in the repository::

    python3 -m profiles.measure.gpu_sweep gemm --out gemm.jsonl
    python3 -m profiles.measure.gpu_sweep decoder --model meta-llama/Llama-3.1-8B --out decoder.jsonl

and at home ``gpuplan profiles import gpuplan-sweep gemm.jsonl``. The same command again resumes a run cut off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiles.errors import GpuplanError, InvalidInput
from profiles.measure.journal import Journal, day_of_run

Report = Callable[[str], None]

SWEEPS = ("gemm", "bandwidth", "decoder")


@dataclass(frozen=True)
class Sweep:
    """What to measure, and how much of it."""

    kind: str
    device: str = "cuda:0"
    precisions: tuple[str, ...] = ()
    num_shapes: int = 300
    largest: int = 16_384
    largest_gib: float = 4.0
    batches: tuple[int, ...] = (1, 8, 32, 128)
    contexts: tuple[int, ...] = (512, 2048, 8192)
    seed: int = 0
    card: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended: points with a result before it and now, and those with a problem."""

    device: str
    num_resumed: int
    num_measured: int
    problems: tuple[str, ...]
    note: str


def run(sweep: Sweep, out: Path, report: Report) -> Outcome:
    """Measure every point of ``sweep`` that the journal at ``out`` lacks; ``report`` is told of each.

    A point that does not fit or that the GPU refuses is a problem in the journal and the run goes on.

    Raises
    ------
    InvalidInput
        If torch or the GPU is missing, a value cannot be meant, or ``out`` is no journal of this run.
    """
    try:
        import torch

        from profiles.measure.stopwatch import stopwatch
    except ImportError:
        raise InvalidInput("measuring a GPU needs torch, which is not installed",
                           fix="pip install 'gpuplan[gpu]'") from None  # fmt: skip
    watch = stopwatch(sweep.device)
    settings, points, measure = _prepared(sweep, watch)
    head = {"kind": sweep.kind, **watch.run(), **settings}
    journal = Journal(out, head | {"as_of": day_of_run(out)})
    num_resumed, num_measured, problems = len(journal), 0, []
    wanted = list(points)
    try:
        for index, point in enumerate(wanted, start=1):
            if point in journal:
                continue
            told = f"[{index}/{len(wanted)}] " + " ".join(f"{name} {value}" for name, value in point.items())
            try:
                result = measure(point)
            except (MemoryError, RuntimeError, NotImplementedError) as error:
                # RuntimeError is what torch raises for all that a device refuses, out of memory included.
                problem = (str(error) or type(error).__name__).partition("\n")[0]
                journal.add_problem(point, problem)
                problems.append(f"{told}: {problem}")
                if watch.device.type == "cuda":
                    torch.cuda.empty_cache()
            else:
                journal.add(point, result)
                num_measured += 1
                power = f", {result['mean_power_w']:.0f} W" if "mean_power_w" in result else ""
                report(f"{told}: {result['time_us']:,.1f} µs{power}")
    finally:
        journal.close()
    return Outcome(head["device"], num_resumed, num_measured, tuple(problems), watch.note)


def _prepared(sweep: Sweep, watch: Any) -> tuple[dict[str, Any], Iterable[dict[str, Any]], Callable[..., Any]]:
    """What the head of the journal says of ``sweep``, its points, and what measures one."""
    from profiles.measure import bandwidth, decoder, gemm

    if sweep.kind == "bandwidth":
        _positive("--largest-gib", sweep.largest_gib)
        return {}, bandwidth.points(sweep.largest_gib), lambda point: bandwidth.measure(point, watch)
    on_cpu = watch.device.type == "cpu"
    if sweep.kind == "gemm":
        _positive("--shapes", sweep.num_shapes)
        if sweep.largest < 64:
            raise InvalidInput(f"must be 64 or more, not {sweep.largest}", field="--largest")
        offered = gemm.ON_CPU if on_cpu else gemm.PRECISIONS
        precisions = _offered(sweep.precisions or offered, offered, sweep.device)
        points = gemm.points(precisions, sweep.num_shapes, sweep.largest, sweep.seed)
        return {"seed": sweep.seed}, points, lambda point: gemm.measure(point, watch)
    if sweep.card is None:
        raise InvalidInput("a decoder needs a shape", field="--model", fix="add --model NAME")
    for flag, values in (("--batch", sweep.batches), ("--context", sweep.contexts)):
        for value in values:
            _positive(flag, value)
    precision = _offered(sweep.precisions or ("bf16",), tuple(decoder.ELEMENT_BYTES), sweep.device)
    if len(precision) > 1:
        raise InvalidInput("one precision at a time", field="--precision")
    built = decoder.Decoder(decoder.Shape.of(sweep.card), precision[0], watch)
    settings = {"model": built.shape.name, "precision": precision[0]}
    return settings, decoder.points(sweep.batches, sweep.contexts), built.measure


def _positive(flag: str, value: float) -> None:
    if not value > 0:
        raise InvalidInput(f"must be above zero, not {value}", field=flag)


def _offered(wanted: tuple[str, ...], offered: tuple[str, ...], device: str) -> tuple[str, ...]:
    for precision in wanted:
        if precision not in offered:
            raise InvalidInput(f"{precision!r} cannot be measured on {device}", field="--precision",
                               fix=f"one of {', '.join(offered)}")  # fmt: skip
    return wanted


def main(arguments: list[str] | None = None) -> int:
    """The bare machine's command line; returns the exit code (0, or 2 with one sentence on stderr)."""
    parser = argparse.ArgumentParser(prog="gpu_sweep", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("kind", choices=SWEEPS)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the journal; resumed where it exists")
    parser.add_argument("--device", default=Sweep.device)
    parser.add_argument("--precision", type=_names, default=(), help="e.g. bf16,fp8; default: all the device has")
    parser.add_argument("--shapes", type=int, default=Sweep.num_shapes, help="gemm: how many (m, n, k)")
    parser.add_argument("--largest", type=int, default=Sweep.largest, help="gemm: bound of m, n and k")
    parser.add_argument("--seed", type=int, default=Sweep.seed, help="gemm: which shapes")
    parser.add_argument("--largest-gib", type=float, default=Sweep.largest_gib, help="bandwidth: largest buffer")
    parser.add_argument("--model", help="decoder: a model of the built-in catalogue")
    parser.add_argument("--batch", type=_numbers, default=Sweep.batches, help="decoder: e.g. 1,8,32")
    parser.add_argument("--context", type=_numbers, default=Sweep.contexts, help="decoder: e.g. 512,2048")
    given = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        sweep = Sweep(
            given.kind, given.device, given.precision, given.shapes, given.largest, given.largest_gib,
            given.batch, given.context, given.seed, card=_card(given.model) if given.model else None,
        )  # fmt: skip
        outcome = run(sweep, given.out, say)
    except GpuplanError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say(f"interrupted; the same command resumes with what {given.out} lacks")
        return 130
    for line in (*outcome.problems, outcome.note):
        if line:
            say(line)
    print(f"{given.out}: {outcome.num_resumed} points before, {outcome.num_measured} now, "
          f"{len(outcome.problems)} with problems")  # fmt: skip
    return 0


def _card(name: str) -> dict[str, Any]:
    try:
        from profiles.measure.decoder import Shape
    except ImportError:
        raise InvalidInput("measuring a GPU needs torch, which is not installed",
                           fix="pip install 'gpuplan[gpu]'") from None  # fmt: skip
    return vars(Shape.named(name))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
