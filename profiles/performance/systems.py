"""Rows as linear equations in the coefficients of the terms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats, Marks
from profiles.performance.datasheet import Datasheet
from profiles.performance.fit import Fit, fit_terms
from profiles.performance.latency import RunningLimit
from profiles.performance.rows import Rows
from profiles.performance.terms import newcomers_per_step, prompt_terms, shared_prompt_terms, step_terms

FAMILY_PULL, LAYOUT_PULL = 1.0, 1.0
"""Square roots of the rows that a prior is worth: datasheet for a family, family for a layout."""

NOMINAL_PULL = 0.1
"""The same for a family whose model or GPU has no datasheet, only nominal times."""

STEP_TOLERANCE, PROMPT_TOLERANCE = 0.05, 0.15
"""Relative errors up to which a row counts in full: the spread of repeated runs of the same point."""

QUEUED_BELOW = 0.85
"""A row where fewer than this share of the requests in flight were running may have met a limit."""


@dataclass(frozen=True)
class Member:
    """One layout of a family: its datasheet times, rows, and the limit that memory implies."""

    sheet: Datasheet
    rows: Rows
    limit: RunningLimit


@dataclass(frozen=True)
class System:
    """Linear equations ``terms @ coefficients ≈ target``; errors count relative to ``scale``."""

    terms: Floats
    target: Floats
    scale: Floats


def fit_prompt(systems: list[System], prior: Floats, pull: float) -> Fit:
    """Fit the prompt terms of one or several layouts."""
    return _fit(systems, prior, pull, PROMPT_TOLERANCE)


def fit_step(systems: list[System], prior: Floats, pull: float) -> Fit:
    """Fit the step terms of one or several layouts."""
    return _fit(systems, prior, pull, STEP_TOLERANCE)


def _fit(systems: list[System], prior: Floats, pull: float, tolerance: float) -> Fit:
    systems = [s for s in systems if len(s.target)]
    if not systems:
        return Fit(prior, np.empty(0))
    target = np.concatenate([s.target for s in systems])
    terms = np.concatenate([s.terms for s in systems])
    scale = np.concatenate([s.scale for s in systems])
    return fit_terms(terms, target, prior, pull=pull, tolerance=tolerance, row_scale=scale)


def calm(rows: Rows) -> Rows:
    """The rows that cannot have waited for a slot or for memory."""
    return rows.where(~maybe_queued(rows))


def maybe_queued(rows: Rows) -> Marks:
    """Rows so few of whose requests were running that they may have met a limit."""
    with np.errstate(invalid="ignore"):
        return rows.decode_ms / rows.e2e_ms < QUEUED_BELOW


def crowding(rows: Rows, limit: RunningLimit) -> tuple[Floats, Floats]:
    """(requests running, requests in flight per running one)."""
    fits = np.maximum(limit.running(rows.input_tokens, rows.output_tokens), 1.0)
    running = np.minimum(rows.concurrency, fits)
    return running, rows.concurrency / running


def prompt_system(sheet: Datasheet, rows: Rows, limit: RunningLimit) -> System:
    """``TTFT = crowding · prompt + (crowding − 1) · decode``, linear in the terms of the prompt."""
    rows = rows.where(np.isfinite(rows.ttft_ms) & np.isfinite(rows.tpot_ms))
    running, per_running = crowding(rows, limit)
    terms = prompt_terms(sheet, running, rows.input_tokens) * per_running[:, None]
    return System(terms, rows.ttft_ms - (per_running - 1) * rows.decode_ms, rows.ttft_ms)


def step_system(member: Member, limit: RunningLimit, prompt: Floats) -> System:
    """TPOT as a sum of step terms and of prompt terms times the newcomers per step."""
    rows = member.rows.where(np.isfinite(member.rows.tpot_ms))
    running, _ = crowding(rows, limit)
    steps = step_terms(member.sheet, running, rows.input_tokens, rows.output_tokens)
    first = prompt_terms(member.sheet, running, rows.input_tokens) @ prompt
    newcomers = newcomers_per_step(running, rows.output_tokens, first, rows.tpot_ms) * (not rows.static_batch)
    shared = shared_prompt_terms(member.sheet, rows.input_tokens) * newcomers[:, None]
    return System(np.hstack([steps, shared]), rows.tpot_ms, rows.tpot_ms)
