"""Alert and recording rules of a row for Prometheus. Pure: plan in, texts out.

Row power is what dcgm-exporter reports of every GPU with the label ``row``, plus the plan's watts of all else. A
reading counts only while it is fresh and nearly all GPUs are seen: otherwise there is none, and the fail-safe alert
fires.
"""

from __future__ import annotations

from typing import Any

import yaml

from planner.power.plan import PowerPlan
from planner.render.power_metrics import (
    POWER_METRIC,
    POWER_RECORD,
    SEEN_RECORD,
    SHARE_RECORD,
    least_seen,
    num_gpus,
    other_w,
    row_name,
)
from planner.render.power_policy import state_name, states_of

ABOUT = """\
# Scrape dcgm-exporter every {interval_s:g} s with the label row="{row}" on this row's {gpus} GPUs (relabel_configs).
# It must also collect that often (--collect-interval, milliseconds), not every 30 s, or old readings look fresh.
# GPUs that are not seen count as the average of those that are.
# Beside the GPUs {other_kw:.1f} kW are taken to be drawn all the time: the plan's assumption. A meter is better.
"""


def prometheus(plan: PowerPlan) -> dict[str, str]:
    """``row_power.rules.yaml``, for ``rule_files``."""
    row, controls = row_name(plan), plan.spec.controls
    about = ABOUT.format(
        interval_s=controls.telemetry_interval_s, row=row, gpus=num_gpus(plan), other_kw=other_w(plan) / 1000
    )
    interval = _duration(controls.telemetry_interval_s)
    groups = [{"name": f"{row}-power", "interval": interval, "rules": [*_records(plan, row), *_alerts(plan, row)]}]
    return {"row_power.rules.yaml": about + yaml.safe_dump({"groups": groups}, sort_keys=False, width=10_000)}


def _records(plan: PowerPlan, row: str) -> list[dict[str, Any]]:
    gpu_w = f'{POWER_METRIC}{{row="{row}"}}'
    fresh = f"({gpu_w} and (time() - timestamp({gpu_w}) <= {plan.spec.controls.telemetry_timeout_s:g}))"
    seen, power = f'{SEEN_RECORD}{{row="{row}"}}', f'{POWER_RECORD}{{row="{row}"}}'
    watts = (
        f"(avg by (row) {fresh} * {num_gpus(plan)} + {other_w(plan):.1f}) and on (row) ({seen} >= {least_seen(plan)})"
    )
    return [
        {"record": SEEN_RECORD, "expr": f"count by (row) {fresh}", "labels": {"row": row}},
        {"record": POWER_RECORD, "expr": watts, "labels": {"row": row}},
        {"record": SHARE_RECORD, "expr": f"{power} / {plan.budget_w:.1f}", "labels": {"row": row}},
    ]


def _alerts(plan: PowerPlan, row: str) -> list[dict[str, Any]]:
    policy, power, controls = plan.policy, f'{POWER_RECORD}{{row="{row}"}}', plan.spec.controls
    assert policy is not None and plan.budget_w is not None  # noqa: S101, PT018 - only plans with a row are rendered
    states = states_of(plan)
    alerts = [
        _alert(
            f"RowPowerStep{i}", f"{power} > {step.at * plan.budget_w:.1f}", "info", row,
            f"Row {row} is above {step.at:.1%} of its budget",
            f"{{{{ $value | printf \"%.0f\" }}}} W; the policy sets {_in_words(states[state_name(i)])}",
        )
        for i, step in enumerate(policy.steps, 1)
    ]  # fmt: skip
    alerts.append(
        _alert(
            "RowPowerBrake", f"{power} > {policy.brake_at * plan.budget_w:.1f}", "critical", row,
            f"Row {row} is above {policy.brake_at:.0%} of its budget: brake",
            f"{{{{ $value | printf \"%.0f\" }}}} W; every GPU goes to {controls.brake_clock_mhz:g} MHz",
        )
    )  # fmt: skip
    blind = _alert(
        "RowPowerTelemetryAbsent", f"absent({power})", "critical", row,
        f"No power reading of row {row}: fail safe, {state_name(len(policy.steps))}",
        f"Fewer than {least_seen(plan)} of {num_gpus(plan)} GPUs reported within {controls.telemetry_timeout_s:g} s",
    )  # fmt: skip
    return [*alerts, {**blind, "for": _duration(controls.telemetry_timeout_s)}]


def _alert(name: str, expr: str, severity: str, row: str, summary: str, description: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expr,
        "labels": {"severity": severity, "row": row},
        "annotations": {"summary": summary, "description": description},
    }


def _in_words(caps: dict[str, dict[str, float]]) -> str:
    """Caps of every class that has one. Braces would be templates to Prometheus."""
    units = {"clock_mhz": "MHz", "power_w": "W"}
    told = [f"{name} {value:g} {units[kind]}" for name, held in caps.items() for kind, value in held.items()]
    return ", ".join(told).replace("{", "(").replace("}", ")") or "no cap"


def _duration(seconds: float) -> str:
    """As Prometheus writes it: whole milliseconds."""
    return f"{max(1, round(seconds * 1000))}ms"
