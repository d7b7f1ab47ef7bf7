"""What the controls of the serving page set: read from a spec, and written into it where it was changed.

Values are as widgets have them: 0 stands for "no limit", shares are whole percentages, an empty list lets all through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboard.client import Document
from dashboard.serving import workload

Settings = dict[str, Any]
"""By the name that the address has."""

SLO_LIMITS = ("ttft_ms", "tpot_ms", "e2e_ms")
OFFERS = ("providers", "regions", "gpus", "markets")
LIMITS = ("budget_usd_per_hour", "power_w", "max_gpu_types")

LEAST_UTILISATION = 0.01
"""The least that a spec may plan a replica for."""


def read(spec: Document, index: int) -> Settings:
    """What a spec says: of the whole plan, and of the service at ``index``."""
    service = spec["services"][index]
    slo, offers, limits = service.get("slo") or {}, spec.get("offers") or {}, spec.get("limits") or {}
    return {
        "rate": float(f"{workload.requests_per_s(service['workload']):g}"),  # six digits: it is read by people
        "longer_prompts": 1.0,
        "longer_answers": 1.0,
        **{name: float(slo.get(name) or 0.0) for name in SLO_LIMITS},
        "percentile": slo.get("percentile", "mean"),
        "utilisation": round(100 * service.get("max_utilisation", 0.85)),
        "spare_replicas": service.get("spare_replicas", 0),
        "spot": round(100 * service.get("max_spot_fraction", 1.0)),
        "roofline": service.get("allow_roofline", False),
        "split": service.get("split", "never"),
        "objective": spec.get("objective", "cost"),
        **{name: float(limits.get(name) or 0.0) for name in LIMITS[:2]},
        "max_gpu_types": limits.get("max_gpu_types") or 0,
        **{name: list(offers.get(name) or ()) for name in OFFERS[:3]},
        "markets": list(offers.get("markets") or ("on_demand",)),
    }


def written(spec: Document, index: int, now: Mapping[str, Any]) -> Document:
    """The spec with what differs from ``read``; without a difference it is the same spec."""
    before = read(spec, index)
    new = {name: value for name, value in now.items() if value != before[name]}
    if not new:
        return spec
    services = list(spec["services"])
    services[index] = _service(services[index], new)
    changed = {**spec, "services": services}
    if "objective" in new:
        changed["objective"] = new["objective"]
    offers = {name: new[name] or None for name in OFFERS if name in new}
    if "markets" in offers and not offers["markets"]:
        offers["markets"] = ["on_demand"]
    if offers:
        changed["offers"] = {**(spec.get("offers") or {}), **offers}
    limits = {name: new[name] or None for name in LIMITS if name in new}
    if limits:
        changed["limits"] = {**(spec.get("limits") or {}), **limits}
    return changed


def _service(service: Document, new: Settings) -> Document:
    changed = dict(service)
    if "longer_prompts" in new or "longer_answers" in new:
        longer = (new.get("longer_prompts", 1.0), new.get("longer_answers", 1.0))
        changed["workload"] = workload.longer(changed["workload"], *longer)
    if "rate" in new:
        changed["workload"] = workload.at_rate(changed["workload"], new["rate"])
    slo: Document = {name: new[name] or None for name in SLO_LIMITS if name in new}
    if "percentile" in new:
        slo["percentile"] = new["percentile"]
    if slo:
        changed["slo"] = {**(service.get("slo") or {}), **slo}
    if "utilisation" in new:
        changed["max_utilisation"] = max(new["utilisation"] / 100, LEAST_UTILISATION)
    if "spot" in new:
        changed["max_spot_fraction"] = new["spot"] / 100
    renamed = {"spare_replicas": "spare_replicas", "roofline": "allow_roofline", "split": "split"}
    return changed | {field: new[name] for name, field in renamed.items() if name in new}
