"""Proof of the split routes of a serving plan: prompts on one unit, decoding on another."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from planner.serving.plan import Allocation, Route, ServingPlan
from planner.serving.spec import Service
from planner.types import Violation, broken
from profiles.performance import (
    Iteration,
    PerformanceModel,
    Sizes,
    decoded_requests_per_s,
    most_concurrent,
    time_per_output_token,
    time_to_first_token,
)

_RELATIVE = 1e-5
_GIGABYTE = 1e9


def split_layouts(plan: ServingPlan) -> Iterator[Violation]:
    """Services are split only where, and always where, the spec asks for it."""
    wanted = {service.name: service.split for service in plan.spec.services}
    for a in plan.allocation:
        forbidden = {"never": a.role != "unified", "always": a.role == "unified", "allowed": False}
        asked = wanted.get(a.service, "never")
        if forbidden[asked]:
            yield broken("split", f"{a.unit} is {a.role}; the spec says split: {asked}")


def split_route(
    performance: PerformanceModel, service: Service, reader: Allocation, decoder: Allocation | None, route: Route
) -> Iterator[Violation]:
    """Latencies, rates, link, memory and power of one split route."""
    where = f"{route.unit} → {route.decode_unit}"
    if decoder is None or reader.layout is None or decoder.layout is None or route.concurrency is None:
        yield broken("split", f"{where}: no unit decodes what is read there")
        return
    if (reader.role, decoder.role) != ("prefill", "decode"):
        yield broken("split", f"{where}: a {reader.role} unit hands over to a {decoder.role} unit")
    prompt, tokens = performance.iteration(reader.layout), performance.iteration(decoder.layout)
    together = ("provider", "region", "market", "engine")
    same_place = all(getattr(reader, name) == getattr(decoder, name) for name in together)
    if not same_place or not math.isclose(prompt.kv_bytes_per_token, tokens.kv_bytes_per_token):
        yield broken("split", f"{where}: KV caches cannot move between these units")
    yield from _latencies(service, prompt, tokens, route, where)
    yield from _rates(service, tokens, route, where)
    for unit, watts in ((reader, prompt.prompt_w), (decoder, _watts(tokens.decode_w, route.concurrency))):
        if unit.power_w is not None and watts > unit.power_w / unit.replicas * (1 + _RELATIVE):
            yield broken("power", f"{unit.unit}: draws {watts:.0f} W, more than was counted")


def _latencies(service: Service, prompt: Iteration, tokens: Iteration, route: Route, where: str) -> Iterator[Violation]:
    slo, size = service.slo, _size(service, route)
    rate, running = np.array([route.requests_per_s_per_replica]), np.array([route.concurrency])
    first_ms = float(time_to_first_token(prompt, size, rate, slo.percentile)[0])
    each_ms = float(time_per_output_token(tokens, size, running, slo.percentile)[0])
    found = {
        "ttft_ms": first_ms,
        "tpot_ms": each_ms,
        "e2e_ms": first_ms + (route.mean_output_tokens - 1) * each_ms,
        "kv_transfer_ms": _transfer_ms(service, tokens, route),
    }
    for name, value in found.items():
        planned, limit = getattr(route, name), getattr(slo, name, None)
        counts = name != "tpot_ms" or route.mean_output_tokens > 1
        if limit is not None and counts and value > limit * (1 + _RELATIVE):
            yield broken("slo", f"{where}: {name} is {value:.5g}, over {limit:g}")
        if planned is None or not math.isclose(planned, value, rel_tol=_RELATIVE, abs_tol=1e-6):
            yield broken("slo", f"{where}: {name} is {value:.5g}, not {planned}")


def _rates(service: Service, tokens: Iteration, route: Route, where: str) -> Iterator[Violation]:
    size, running = _size(service, route), np.array([route.concurrency])
    if route.requests_per_s_per_replica * _transfer_ms(service, tokens, route) > 1e3 * (1 + _RELATIVE):
        detail = f"{where}: {route.requests_per_s_per_replica:.5g} KV caches a second do not fit the link"
        yield broken("kv_link_gb_per_s", detail)
    most = float(decoded_requests_per_s(tokens, size, running)[0])
    if not 0 < (route.decode_requests_per_s_per_replica or 0.0) <= most * (1 + _RELATIVE):
        yield broken("capacity", f"{where}: decodes {most:.5g} requests/s, not what was planned")
    if float(running[0]) > max(float(most_concurrent(tokens, size)[0]), 1.0) * (1 + _RELATIVE):
        yield broken("memory", f"{where}: {running[0]:.4g} KV caches do not fit a replica")


def _transfer_ms(service: Service, tokens: Iteration, route: Route) -> float:
    kv_bytes = route.mean_input_tokens * tokens.kv_bytes_per_token
    return kv_bytes / (service.kv_link_gb_per_s * _GIGABYTE) * 1e3


def _size(service: Service, route: Route) -> Sizes:
    return Sizes(np.array([route.mean_input_tokens]), np.array([route.mean_output_tokens]), service.kv_link_gb_per_s)


def _watts(by_running: np.ndarray, running: float) -> float:
    return float(np.interp(running, np.arange(len(by_running)), by_running))
