"""What the controls of the power page set: read from a spec, and written into it where it was changed.

Values are as widgets have them: 0 servers stands for "as many as can be promised", shares are whole percentages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboard.client import Document

Settings = dict[str, Any]
"""By the name that the address has."""

POLICIES = {
    "optimise": "find thresholds and clocks",
    "polca": "POLCA's two thresholds",
    "one_threshold": "one threshold",
    "power_cap": "a power cap at all times",
    "none": "no capping, only the brake",
    "given": "as the spec gives it",
}
"""What ``policy`` of a spec may be, in words."""

ASSUME = {"low": "the low end", "middle": "the middle", "high": "the high end"}
METHODS = {"out_of_band": "out of band (BMC)", "in_band": "in band"}


def budget_w(spec: Document) -> float:
    """Of the row; 0 where the spec asks of a site alone."""
    row = spec.get("row")
    if row is None:
        return 0.0
    if row.get("budget_w") is not None:
        return float(row["budget_w"])
    rated_w = {server.get("name", "server"): server["rated_w"] for server in spec["servers"]}
    shares = [(w.get("share", 1.0), w.get("server", "server")) for w in spec["workloads"]]
    return float(row["budget_servers"] * sum(share * rated_w[server] for share, server in shares))


def read(spec: Document) -> Settings:
    """What a spec says."""
    promise, controls = spec.get("promise") or {}, spec.get("controls") or {}
    policy = spec.get("policy", "optimise")
    return {
        "budget_kw": round(budget_w(spec) / 1000, 6),
        "num_servers": spec.get("num_servers") or 0,
        "policy": policy if isinstance(policy, str) else "given",
        "assume": spec.get("assume", "high"),
        "weeks": promise.get("weeks", 6),
        "confidence": round(100 * promise.get("confidence", 0.99), 4),
        "max_brakes": promise.get("max_brakes", 0),
        "method": controls.get("method", "out_of_band"),
    }


def written(spec: Document, now: Mapping[str, Any]) -> Document:
    """The spec with what differs from ``read``; without a difference it is the same spec."""
    before = read(spec)
    new = {name: value for name, value in now.items() if value != before[name]}
    changed = dict(spec)
    if "budget_kw" in new:
        changed["row"] = {**(spec.get("row") or {}), "budget_w": 1000 * new["budget_kw"], "budget_servers": None}
    if "num_servers" in new:
        changed["num_servers"] = new["num_servers"] or None
    if new.get("policy", "given") != "given":
        changed["policy"] = new["policy"]
    if "assume" in new:
        changed["assume"] = new["assume"]
    promise: Document = {name: new[name] for name in ("weeks", "max_brakes") if name in new}
    if "confidence" in new:
        promise["confidence"] = new["confidence"] / 100
    if promise:
        changed["promise"] = {**(spec.get("promise") or {}), **promise}
    if "method" in new:
        changed["controls"] = {**(spec.get("controls") or {}), "method": new["method"]}
    return changed
