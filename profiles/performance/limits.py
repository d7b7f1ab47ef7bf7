"""How many requests a layout runs at once: found from the rows that waited, else from memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from profiles.performance.answers import Floats
from profiles.performance.datasheet import Datasheet
from profiles.performance.latency import RunningLimit
from profiles.performance.rows import Rows
from profiles.performance.systems import LAYOUT_PULL, Member, calm, fit_prompt, maybe_queued, prompt_system
from profiles.types import Layout

NUM_CANDIDATES = 8
WITNESSES = 2
"""Layouts of a family whose rows must show a limit on slots before the others are taken to have it."""

PLAUSIBLE = (0.6, 1.6)
"""Bounds on memory found over memory expected: beyond them it was something else that made a layout's requests wait."""

LIMIT_PENALTY = 0.02
"""Mean error that a limit must save to be believed."""


def find_limits(members: Mapping[Layout, Member], prompt: Floats) -> dict[Layout, RunningLimit]:
    """Limit of each layout of a family, with ``prompt`` the coefficients of rows that did not wait.

    A limit that explains a layout's own waiting comes first. Siblings run the same engine with the same settings, so
    where the rows of one show its slots, or how much more or less than expected its memory holds, that goes for all.
    Whatever ran without waiting fits.
    """
    found = {layout: _explaining_limit(member, prompt) for layout, member in members.items()}
    slots = [limit.slots for limit in found.values() if np.isfinite(limit.slots)]
    family_slots = float(np.median(slots)) if len(slots) >= WITNESSES else np.inf
    factor = _memory_factor(members, found)
    limits = {}
    for layout, member in members.items():
        held, running = _proven(member)
        limit, expected = found[layout], member.limit
        limits[layout] = RunningLimit(
            limit.tokens if np.isfinite(limit.tokens) else max(expected.tokens * factor, held),
            limit.slots if np.isfinite(limit.slots) else max(family_slots, running),
            expected.reserved_output,
        )
    return limits


def _memory_factor(members: Mapping[Layout, Member], found: Mapping[Layout, RunningLimit]) -> float:
    """What memory holds in this family, as a multiple of what it should hold."""
    expected = {layout: m.limit.tokens for layout, m in members.items() if 0 < m.limit.tokens < np.inf}
    met = [found[layout].tokens / tokens for layout, tokens in expected.items() if np.isfinite(found[layout].tokens)]
    met = [ratio for ratio in met if PLAUSIBLE[0] <= ratio <= PLAUSIBLE[1]]
    proven = [_proven(members[layout])[0] / tokens for layout, tokens in expected.items()]
    return float(np.median(met)) if met else min(max([1.0, *proven]), PLAUSIBLE[1])


def _explaining_limit(member: Member, prompt: Floats) -> RunningLimit:
    """The limit that explains the waiting in the rows best; infinite where waiting explains nothing.

    A queued row tells the limit it met: ``running = concurrency · decode / E2E`` (Little's law).
    """
    rows = member.rows.where(np.isfinite(member.rows.ttft_ms) & np.isfinite(member.rows.tpot_ms))
    queued = maybe_queued(rows)
    none = RunningLimit(reserved_output=member.limit.reserved_output)
    if rows.static_batch or not queued.any():
        return none
    running = rows.concurrency * rows.decode_ms / rows.e2e_ms
    held = running * (rows.input_tokens + none.reserved_output * rows.output_tokens)
    candidates = [none]
    candidates += [replace(none, tokens=tokens) for tokens in _spread(held[queued])]
    candidates += [replace(none, slots=slots) for slots in _spread(running[queued])]
    losses = [
        _prompt_loss(member.sheet, rows, limit, prompt) + LIMIT_PENALTY * _num_doubts(limit, member.limit)
        for limit in candidates
    ]
    return candidates[int(np.argmin(losses))]


def _num_doubts(limit: RunningLimit, expected: RunningLimit) -> int:
    """One for supposing a limit at all, one more where memory should hold far more or less than it says."""
    if not np.isfinite(limit.tokens):
        return int(np.isfinite(limit.slots))
    plausible = PLAUSIBLE[0] <= limit.tokens / max(expected.tokens, 1.0) <= PLAUSIBLE[1]
    return 1 if plausible or not np.isfinite(expected.tokens) else 2


def _prompt_loss(sheet: Datasheet, rows: Rows, limit: RunningLimit, prompt: Floats) -> float:
    system = prompt_system(sheet, rows, limit)
    coefficients = fit_prompt([system], prompt, LAYOUT_PULL).coefficients
    miss = np.abs(system.terms @ coefficients - system.target) / system.scale
    return float(np.minimum(miss, 1.0).mean())


def _proven(member: Member) -> tuple[float, float]:
    """Most tokens and most requests that ran without waiting."""
    rows = calm(member.rows)
    held = rows.concurrency * (rows.input_tokens + member.limit.reserved_output * rows.output_tokens)
    return float(held.max(initial=0.0)), float(rows.concurrency.max(initial=0.0))


def _spread(values: Floats) -> Floats:
    return np.unique(np.quantile(values, np.linspace(0, 1, NUM_CANDIDATES)))
