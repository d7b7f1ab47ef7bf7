"""From rows to coefficients: datasheet → family → layout, each level pulled towards the one above.

A *family* is every layout of one model, GPU type, precision and engine: it differs in parallel degrees only,
which the datasheet times already account for. So a layout with three points borrows the rest from its siblings,
a layout with none is predicted from them, and a family with none is a roofline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats, Marks
from profiles.performance.datasheet import Datasheet
from profiles.performance.latency import Latency, RunningLimit
from profiles.performance.limits import find_limits
from profiles.performance.rows import Rows
from profiles.performance.systems import (
    FAMILY_PULL,
    LAYOUT_PULL,
    NOMINAL_PULL,
    Member,
    calm,
    crowding,
    fit_prompt,
    fit_step,
    prompt_system,
    step_system,
)  # fmt: skip
from profiles.performance.terms import PROMPT_PRIOR, STEP_PRIOR
from profiles.types import Layout


@dataclass(frozen=True)
class Learned:
    """Fitted latency of one layout, and for each row what the others would have predicted, in ms."""

    latency: Latency
    left_out_ttft_ms: Floats
    left_out_tpot_ms: Floats


@dataclass(frozen=True)
class Family:
    """Coefficients shared by the layouts of one model, GPU, precision and engine."""

    step: Floats
    prompt: Floats
    members: Mapping[Layout, Learned]

    def latency(self, sheet: Datasheet, limit: RunningLimit) -> Latency:
        """Latency of a layout that was not measured itself."""
        return Latency(sheet, self.step, self.prompt, limit)


def learn(members: Mapping[Layout, Member]) -> Family:
    """Fit a family and each of its layouts; cost is linear in the rows."""
    pull = FAMILY_PULL if all(m.sheet.known for m in members.values()) else NOMINAL_PULL
    free = [prompt_system(m.sheet, calm(m.rows), RunningLimit()) for m in members.values()]
    prompt = fit_prompt(free, PROMPT_PRIOR, pull).coefficients
    limits = find_limits(members, prompt)
    systems = {layout: prompt_system(m.sheet, m.rows, limits[layout]) for layout, m in members.items()}
    prompt = fit_prompt(list(systems.values()), PROMPT_PRIOR, pull).coefficients
    prompts = {layout: fit_prompt([systems[layout]], prompt, LAYOUT_PULL) for layout in members}
    steps = {layout: step_system(m, limits[layout], prompts[layout].coefficients) for layout, m in members.items()}
    step = fit_step(list(steps.values()), STEP_PRIOR, pull).coefficients
    learned = {}
    for layout, m in members.items():
        own = fit_step([steps[layout]], step, LAYOUT_PULL)
        latency = Latency(m.sheet, own.coefficients, prompts[layout].coefficients, limits[layout], m.rows.static_batch)
        learned[layout] = Learned(
            latency,
            _ttft_left_out(m.rows, limits[layout], prompts[layout].left_out),
            _scatter(own.left_out, np.isfinite(m.rows.tpot_ms)),
        )
    return Family(step, prompt, learned)


def _ttft_left_out(rows: Rows, limit: RunningLimit, left_out: Floats) -> Floats:
    kept = np.isfinite(rows.ttft_ms) & np.isfinite(rows.tpot_ms)
    _, per_running = crowding(rows, limit)
    full = _scatter(left_out, kept)
    return full + (per_running - 1) * rows.decode_ms


def _scatter(values: Floats, kept: Marks) -> Floats:
    full = np.full(len(kept), np.nan)
    full[kept] = values
    return full
