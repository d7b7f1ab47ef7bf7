"""The row that is simulated, with what nobody measured at one end of its range, or such as to explain what was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from planner.errors import InvalidInput
from planner.power.demand import Calendar, Pool
from planner.power.policy import no_capping
from planner.power.rows.deal import servers
from planner.power.rows.fleet import Fleet, Group
from planner.power.spec import PowerSpec
from planner.power.traces.pools import gpus_of
from planner.power.trials import CALIBRATING, OBSERVED_WEEKS, Effort, trials
from profiles.types import Facts

End = Literal["low", "middle", "high"]

SHARES: dict[End, float] = {"low": 0.0, "middle": 0.5, "high": 1.0}

Demands = Sequence[tuple[Pool, Calendar]]
"""In the order of the spec's workloads."""

EXPLAINED = 0.005
"""Of the budget: observed peaks are often told in whole percents."""


def fleet_of(spec: PowerSpec, facts: Facts, demands: Demands, other_w: Mapping[str, float]) -> Fleet:
    """The spec's row with ``other_w`` watts beside the GPUs, per kind of server."""
    gpus = gpus_of(spec, facts)
    groups = []
    for workload, (pool, calendar) in zip(spec.workloads, demands, strict=True):
        server = spec.server_of(workload)
        groups.append(
            Group(
                name=workload.name,
                priority=workload.priority,
                share=workload.share,
                gpu=gpus[server.name],
                num_gpus=server.num_gpus,
                other_w=other_w[server.name],
                pool=pool,
                calendar=calendar,
            )
        )
    return Fleet(spec.budget_w, tuple(groups), tuple(p.name for p in spec.priorities), spec.controls)


def other_at(spec: PowerSpec, end: End) -> dict[str, float]:
    """Watts beside the GPUs, per kind of server, at one end of their ranges or in the middle."""
    return _between(spec, SHARES[end])


def calibrated(spec: PowerSpec, facts: Facts, demands: Demands, effort: Effort, seed: int) -> dict[str, float]:
    """Watts beside the GPUs with which the uncapped row peaks where ``row.observed`` saw it.

    The peak observed is taken for the highest of six weeks. It rises in a straight line with the watts beside the GPUs,
    since they are always drawn. Raises ``InvalidInput`` with the peaks that the range can explain when the observed one
    is not among them.
    """
    assert spec.row is not None and spec.row.observed is not None  # noqa: S101, PT018 - the caller asked
    seen = spec.row.observed

    fleet = fleet_of(spec, facts, demands, other_at(spec, "low"))
    weeks = trials(fleet, (no_capping(),), (seen.num_servers,), CALIBRATING, effort, seed)
    low = float(weeks.natural_peak.reshape(-1, OBSERVED_WEEKS).max(axis=1).mean())
    dealt = servers([w.share for w in spec.workloads], [seen.num_servers])[:, 0]
    ranges_w = [spec.server_of(workload).other_range_w for workload in spec.workloads]
    high = low + sum(n * (most - least) for n, (least, most) in zip(dealt, ranges_w, strict=True)) / spec.budget_w
    if not low - EXPLAINED <= seen.peak_utilisation <= high + EXPLAINED:
        raise InvalidInput(
            f"{seen.peak_utilisation:.1%} is not what {seen.num_servers} of these servers can peak at: with other_w at "
            f"the ends of its range they peak at {low:.1%} to {high:.1%} of the budget",
            field="row.observed.peak_utilisation",
            fix="widen servers[].other_w, or correct the demand's peak load or the budget",
        )
    return _between(spec, min(max((seen.peak_utilisation - low) / max(high - low, 1e-9), 0.0), 1.0))


def _between(spec: PowerSpec, share: float) -> dict[str, float]:
    return {s.name: s.other_range_w[0] + share * (s.other_range_w[1] - s.other_range_w[0]) for s in spec.servers}
