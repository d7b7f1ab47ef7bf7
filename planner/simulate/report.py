"""From the counters of replays to what is reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from planner.errors import InvalidInput
from planner.simulate.replay import NUM_TIME_BINS, Replayed
from planner.simulate.result import SHARES, Events, Latency, Power, ServiceOutcome, Simulation, UnitUse
from planner.simulate.sketch import quantiles
from planner.simulate.state import Floats, Ints, Records

_BACKLOG_S, _BACKLOG_SHARE = 60.0, 0.05

_DIGITS = 3
"""Of milliseconds in a distribution: finer than the sketch, and short to send."""


@dataclass(frozen=True)
class Part:
    """The replay of one service."""

    service: str
    traffic: str
    replayed: Replayed


def report(
    parts: Sequence[Part], *, seed: int, warm_up_s: float, wall_seconds: float, notes: Sequence[str]
) -> Simulation:
    """Everything about ``parts``, one by one and together; ``InvalidInput`` where the warm-up leaves nothing of one."""
    outcomes = [_outcome([part.replayed], warm_up_s) for part in parts]
    end_s = max(part.replayed.end_s for part in parts)
    power, energy_kwh = _power([part.replayed for part in parts], end_s)
    return Simulation(
        **_outcome([part.replayed for part in parts], warm_up_s),
        seed=seed,
        services=tuple(
            ServiceOutcome(service=part.service, traffic=part.traffic, **outcome)
            for part, outcome in zip(parts, outcomes, strict=True)
        ),
        utilisation=tuple(use for part in parts for use in _uses(part, end_s)),
        duration_s=end_s,
        power=power,
        energy_kwh=energy_kwh,
        mean_power_w=None if energy_kwh is None or not end_s else energy_kwh * 3.6e6 / end_s,
        notes=tuple(notes),
        wall_seconds=wall_seconds,
    )


def _outcome(replays: Sequence[Replayed], warm_up_s: float) -> dict[str, Any]:
    """Fields of ``Outcome`` of requests of all ``replays``."""
    tally = {name: sum(replay.tally[name][0] for replay in replays) for name in replays[0].tally.dtype.names or ()}
    histogram = np.sum([replay.histogram for replay in replays], axis=0)
    arrivals_s = max(max(replay.last_arrival_s for replay in replays) - warm_up_s, 0.0)
    unfinished = sum(_unfinished_measured(replay, warm_up_s) for replay in replays)
    measured = int(tally["measured"] + tally["measured_rejected"]) + unfinished
    if measured == 0:
        raise InvalidInput(
            f"no request arrives after {warm_up_s:g} s, so none is measured", field="warm_up_s", fix="shorten it"
        )
    per_s = 1 / arrivals_s if arrivals_s > 0 else 0.0
    rejected = int(tally["too_long"] + tally["too_large"] + tally["no_replica"])
    latencies = {
        f"{name}_ms": _latency(histogram[i], float(tally[f"sum_{name}"]), int(tally[count]))
        for i, (name, count) in enumerate((("ttft", "measured"), ("tpot", "measured_tpot"), ("e2e", "measured")))
    }
    return {
        "num_requests": sum(replay.num_requests for replay in replays),
        **latencies,
        "slo_attainment": float(tally["good"] / measured),
        "goodput_requests_per_s": float(tally["good"] * per_s),
        "requests_per_s": measured * per_s,
        "output_tokens_per_s": float(tally["tokens_out"] * per_s),
        "events": Events(
            completed=int(tally["completed"]),
            rejected=rejected,
            rejected_longer_than_context=int(tally["too_long"]),
            rejected_larger_than_kv_cache=int(tally["too_large"]),
            rejected_no_replica=int(tally["no_replica"]),
            unfinished=int(tally["outstanding"]),
            outside_buckets=sum(replay.num_outside for replay in replays),
            preempted=int(tally["preempted"]),
            retried=int(tally["retried"]),
            transferred=int(tally["transferred"]),
            failures=int(tally["failures"]),
            started=sum(replay.num_started for replay in replays),
        ),
        "stable": all(_is_stable(replay) for replay in replays),
    }


def _unfinished_measured(replay: Replayed, warm_up_s: float) -> int:
    return int((replay.unfinished["arrival"] >= warm_up_s).sum())


def _is_stable(replay: Replayed) -> bool:
    if replay.stopped:
        return False
    backlog_s = float(replay.tally["last_admitted"][0]) - replay.last_arrival_s
    return backlog_s <= _BACKLOG_S + _BACKLOG_SHARE * replay.last_arrival_s


def _latency(counts: Ints, total: float, count: int) -> Latency:
    if not count:
        return Latency(p50=None, p90=None, p95=None, p99=None, mean=None)
    p50, p90, p95, p99 = quantiles(counts, (0.5, 0.9, 0.95, 0.99))
    curve = zip(SHARES, (round(value, _DIGITS) for value in quantiles(counts, SHARES)), strict=True)
    return Latency(p50=p50, p90=p90, p95=p95, p99=p99, mean=total / count, distribution=tuple(curve))


def _uses(part: Part, end_s: float) -> list[UnitUse]:
    replay = part.replayed
    uses = []
    for p, pool in enumerate(replay.pools):
        rows: Records = replay.replicas[replay.replicas["pool"] == p]
        time_s = end_s * pool.replicas or 1.0
        energy_j = _joules(replay, p, end_s)
        known = np.isfinite(energy_j)
        kv_tokens = pool.iteration.kv_tokens
        uses.append(UnitUse(
            unit=pool.unit, service=part.service, role=pool.role, replicas=pool.replicas,
            utilisation=float(rows["busy_s"].sum() / time_s), mean_running=float(rows["running_s"].sum() / time_s),
            kv_utilisation=float(rows["kv_s"].sum() / time_s / kv_tokens) if np.isfinite(kv_tokens) else None,
            num_completed=int(rows["num_completed"].sum()),
            mean_power_w=float(energy_j / (end_s or 1.0)) if known else None,
            energy_kwh=float(energy_j / 3.6e6) if known else None,
            relative_error=pool.iteration.relative_error,
        ))  # fmt: skip
    return uses


def _joules(replay: Replayed, p: int, end_s: float) -> float:
    """Energy of pool ``p``: what its iterations drew, idle power else, and its hosts."""
    pool = replay.pools[p]
    busy_s, busy_j = replay.bins[p].sum(axis=0)
    idle_s = end_s * pool.replicas - busy_s
    return float(busy_j + idle_s * pool.iteration.idle_w + end_s * pool.replicas * pool.host_w)


def _power(replays: Sequence[Replayed], end_s: float) -> tuple[Power | None, float | None]:
    """Power over time of all replays in the bins of the coarsest, and the energy in kWh."""
    bin_s = max(replay.bin_s for replay in replays)
    edges = np.minimum(np.arange(NUM_TIME_BINS + 1) * bin_s, end_s)
    length: Floats = np.diff(edges)
    joules = np.zeros(NUM_TIME_BINS)
    total = 0.0
    for replay in replays:
        merge = round(bin_s / replay.bin_s)
        coarse = np.zeros((len(replay.pools), NUM_TIME_BINS, 2))
        merged = replay.bins.reshape(len(replay.pools), NUM_TIME_BINS // merge, merge, 2).sum(axis=2)
        coarse[:, : merged.shape[1]] = merged
        for p, pool in enumerate(replay.pools):
            idle_s = np.maximum(length * pool.replicas - coarse[p, :, 0], 0.0)
            joules += coarse[p, :, 1] + idle_s * pool.iteration.idle_w + length * pool.replicas * pool.host_w
            total += _joules(replay, p, end_s)
    if not np.isfinite(total) or end_s <= 0:
        return None, None
    used = length > 0
    return Power(bin_s=bin_s, power_w=tuple((joules[used] / length[used]).tolist())), total / 3.6e6
