"""A replay for people: what requests experienced, how busy units were, what happened."""

from __future__ import annotations

from planner.figures import figure
from planner.serving.spec import ServingSpec, Slo
from planner.simulate.result import Events, Latency, Outcome, Simulation
from planner.types import Table, View

_METRICS = (("TTFT", "ttft_ms"), ("TPOT", "tpot_ms"), ("E2E", "e2e_ms"))


def view(found: Simulation, spec: ServingSpec) -> View:
    """What to show of a replay of a plan of ``spec``."""
    slos = {service.name: service.slo for service in spec.services}
    facts = [
        ("requests", f"{found.num_requests:,} in {found.duration_s:,.0f} s, {figure(found.requests_per_s)} a second; "
         f"replayed in {found.wall_seconds:,.2f} s"),
        ("goodput", f"{figure(found.goodput_requests_per_s)} requests/s within every limit, "
         f"{figure(found.output_tokens_per_s)} output tokens/s"),
        ("stable", "yes" if found.stable else "NO: more requests come than are served, and wait ever longer"),
        ("events", _events(found.events)),
    ]  # fmt: skip
    if found.energy_kwh is not None and found.mean_power_w is not None and found.power is not None:
        peak = max(found.power.power_w)
        mean_kw, peak_kw = figure(found.mean_power_w / 1e3), figure(peak / 1e3)
        facts.append(("power", f"{mean_kw} kW on average, {peak_kw} kW at most over "
                      f"{found.power.bin_s:g} s; {figure(found.energy_kwh)} kWh"))  # fmt: skip
    latencies = (_latencies(outcome, slos[outcome.service], outcome.service) for outcome in found.services)
    return View(
        headline=f"{spec.name}: {_headline(found)}",
        facts=tuple(facts),
        tables=(*latencies, _units(found)),
        notes=(*(f"{outcome.service}: {outcome.traffic}" for outcome in found.services), *found.notes),
    )


def _headline(found: Simulation) -> str:
    return f"{found.slo_attainment:.2%} of requests meet the SLO" + (
        "" if found.stable else ", and the load is too high"
    )


def _events(events: Events) -> str:
    return ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in events.model_dump().items() if count
    ) or "none"  # fmt: skip


def _latencies(outcome: Outcome, slo: Slo, service: str) -> Table:
    def row(label: str, name: str) -> tuple[str, ...]:
        latency: Latency = getattr(outcome, name)
        limit = getattr(slo, name)
        return (label, *(_ms(value) for value in (latency.mean, latency.p50, latency.p90, latency.p95, latency.p99)),
                "" if limit is None else f"{limit:,g}")  # fmt: skip

    return Table(
        title=f"Latency of {service} in ms: {outcome.slo_attainment:.2%} within all limits",
        columns=("", "mean", "p50", "p90", "p95", "p99", "limit"),
        rows=tuple(row(*metric) for metric in _METRICS),
        numeric=("mean", "p50", "p90", "p95", "p99", "limit"),
    )


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _units(found: Simulation) -> Table:
    return Table(
        title="Units",
        columns=("unit", "role", "replicas", "busy", "running each", "KV used", "kW", "times ±"),
        rows=tuple(
            (use.unit, use.role, str(use.replicas), f"{use.utilisation:.0%}", f"{use.mean_running:.1f}",
             "" if use.kv_utilisation is None else f"{use.kv_utilisation:.0%}",
             "" if use.mean_power_w is None else f"{use.mean_power_w / 1e3:,.3g}", f"{use.relative_error:.0%}")
            for use in found.utilisation
        ),
        numeric=("replicas", "busy", "running each", "KV used", "kW", "times ±"),
    )  # fmt: skip
