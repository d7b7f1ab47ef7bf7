"""What the spec's events do to the plan: each alone, on days of its own."""

from __future__ import annotations

import numpy as np

from planner.power.plan import Stress
from planner.power.policy import Policy
from planner.power.rows.fleet import Fleet
from planner.power.rows.row import simulate
from planner.power.spec import Event
from planner.power.trials import STRESSING, Effort

WORDS = {
    "feed_failure": "a feed fails and leaves {remaining:.0%} of the budget",
    "telemetry_gap": "telemetry is silent",
    "runaway": "{workload} draws the TDP of all its GPUs",
}


def stress(fleet: Fleet, policy: Policy, num_servers: int, event: Event, effort: Effort, seed: int) -> Stress:
    """The event in a week of its own, and the same week without it."""
    quiet, with_event = (
        simulate(fleet, (policy,), (num_servers,), STRESSING, seed, events=events,
                 seconds_per_week=effort.seconds_per_week)
        for events in ((), (event,))
    )  # fmt: skip
    brakes = int(with_event.num_brakes.sum())
    over_s = float(with_event.seconds_over.sum())
    more_s = (with_event.capped_seconds - quiet.capped_seconds).sum(axis=(0, 1, 2))  # (classes,)
    worst = int(np.abs(more_s).argmax())
    capped_s = float(more_s[worst])
    what = WORDS[event.kind].format(remaining=event.remaining, workload=event.workload)
    braked = f"{brakes} brake{'s' * (brakes > 1)}" if brakes else "no brake"
    over = f"{over_s:,.0f} s above the budget" if over_s else "never above the budget"
    if abs(capped_s) < 1:
        capped = "caps as in that week without it"
    else:
        longer = "longer" if capped_s > 0 else "shorter"
        capped = f"{fleet.priorities[worst]} capped {abs(capped_s) / 60:,.1f} minutes {longer} than without it"
    soon_s = brakes * (fleet.controls.brake_latency_s + fleet.controls.telemetry_interval_s + 1)
    held = "held" if not over_s else "held by the brake" if over_s <= soon_s else "not held"
    return Stress(
        event=event.kind,
        num_brakes=brakes,
        seconds_over_budget=over_s,
        peak_utilisation=float(with_event.peak.max()),
        outcome=f"{held}: {what} at {event.at_s:,.0f} s for {event.duration_s:,.0f} s: {braked}, {over}, {capped}",
    )
