"""What the spec's events do to the plan: each alone, on days of its own."""

from __future__ import annotations

from planner.power.fleet import Fleet
from planner.power.plan import Stress
from planner.power.policy import Policy
from planner.power.row import simulate
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
    capped_s = float(with_event.capped_seconds.sum(axis=0).max() - quiet.capped_seconds.sum(axis=0).max())
    what = WORDS[event.kind].format(remaining=event.remaining, workload=event.workload)
    braked = f"{brakes} brake{'s' * (brakes > 1)}" if brakes else "no brake"
    over = f"{over_s:,.0f} s above the budget" if over_s else "never above the budget"
    longer = "longer" if capped_s >= 0 else "shorter"
    capped = f"caps in force {abs(capped_s) / 60:,.0f} minutes {longer} than in that week without it"
    held = "held" if not brakes and not over_s else "held by the brake" if brakes else "not held"
    return Stress(
        event=event.kind,
        num_brakes=brakes,
        seconds_over_budget=over_s,
        peak_utilisation=float(with_event.peak.max()),
        outcome=f"{held}: {what} at {event.at_s:,.0f} s for {event.duration_s:,.0f} s: {braked}, {over}, {capped}",
    )
