"""One week of a fleet: its groups and policies as tables, then block by block through the compiled part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.power.policy import Policy
from planner.power.rows import caps, deal, kernel
from planner.power.rows.controllers import at_rest, ladder, nothing_yet
from planner.power.rows.fleet import Fleet, Piece
from planner.power.rows.slowdown import SLOWDOWN_BINS
from profiles.performance.answers import Floats

Ints = NDArray[np.int64]

ONE_STATE = np.zeros((1, 1, 1), dtype=np.uint8)
ONE_BLOCK = deal.Week(*(np.zeros(1, dtype=kind) for kind in (np.int64, float, np.int64, float, np.uint64)))
"""What a group plays that has run away: one state, all the time."""


@dataclass(frozen=True, eq=False)
class Setup:
    """Policies and groups as tables. ``wild``: what a group does when it has run away."""

    ladder: kernel.Ladder
    slowdown: Floats
    responses: tuple[caps.Response, ...]
    wild: tuple[caps.Response, ...]
    class_of: tuple[int, ...]
    servers: Ints
    joins: tuple[Ints, ...]


def set_up(fleet: Fleet, policies: Sequence[Policy], counts: Ints) -> Setup:
    """Tables of what ``fleet`` does under ``policies``, for each of ``counts`` servers (increasing)."""
    levels = caps.levels(policies, fleet.priorities, fleet.controls)
    most = max(len(of_class) for of_class in levels.caps)
    class_of = tuple(fleet.priorities.index(group.priority) for group in fleet.groups)
    tame: dict[int, caps.Response] = {}
    wild: dict[int, caps.Response] = {}
    slowdowns = []
    for k, of_class in enumerate(levels.caps):
        members = [g for g, mine in enumerate(class_of) if mine == k]
        groups = [fleet.groups[g] for g in members]
        tables = [(group.pool.table, group.gpu, group.num_gpus, group.other_w) for group in groups]
        tables += [(caps.at_tdp(gpu, num_gpus), gpu, num_gpus, other_w) for _, gpu, num_gpus, other_w in tables]
        rows, slowdown = caps.responses(of_class, tables, num_levels=most)
        tame.update(zip(members, rows[: len(members)], strict=True))
        wild.update(zip(members, rows[len(members) :], strict=True))
        slowdowns.append(slowdown)
    num_responses = max(slowdown.shape[1] for slowdown in slowdowns)
    dealt = deal.order([group.share for group in fleet.groups], int(counts[-1]))
    joins = np.searchsorted(counts, np.arange(len(dealt)), side="right")
    servers = np.zeros((len(fleet.priorities), len(counts)), dtype=np.int64)
    np.add.at(servers, (np.asarray(class_of)[dealt], joins), 1)
    return Setup(
        ladder=ladder(policies, levels, fleet.controls),
        slowdown=np.stack([np.pad(s, ((0, 0), (0, num_responses - s.shape[1]))) for s in slowdowns]),
        responses=tuple(tame[g] for g in range(len(class_of))),
        wild=tuple(wild[g] for g in range(len(class_of))),
        class_of=class_of,
        servers=servers.cumsum(axis=1),
        joins=tuple(joins[dealt == g] for g in range(len(class_of))),
    )


def play_week(
    fleet: Fleet, setup: Setup, pieces: tuple[Piece, ...], seed: int, week: int, track: Floats
) -> kernel.Totals:
    """All controllers through one week; ``track`` (3, seconds of the week, or none) as ``kernel.control`` fills it."""
    num_policies, num_counts = len(setup.ladder.num_steps), setup.servers.shape[1]
    num_classes, num_levels, num_responses = setup.slowdown.shape
    state = at_rest(num_policies, num_counts, num_classes, fleet.controls)
    totals = nothing_yet(num_policies, num_counts, num_classes, num_levels, num_responses)
    drawn = [deal.draw(group.pool, group.calendar, seed, week, g) for g, group in enumerate(fleet.groups)]
    columns = answers = np.empty((0, 0, 0, 0))
    for piece in pieces:
        if columns.shape[2] != piece.num_seconds:  # else the last piece's memory is used again: new memory is slow
            num_spans = -(-piece.num_seconds // kernel.SPAN_S)
            columns = np.empty((num_classes, num_counts, piece.num_seconds, 2 * num_levels))
            answers = np.empty((num_classes, num_counts, num_spans, num_responses))
        columns[:] = answers[:] = 0.0
        for g, group in enumerate(fleet.groups):
            wild = group.name in piece.runaway
            response = (setup.wild if wild else setup.responses)[g]
            states, plays = (ONE_STATE, ONE_BLOCK) if wild else (group.pool.states, drawn[g])
            block, since_s = (0, 0) if wild else divmod(piece.first_s, deal.BLOCK_S)
            kernel.play(
                states, plays.lower[block], plays.upper_share[block],
                (plays.offset[block] + since_s) % states.shape[2], plays.tilt[block], plays.key[block],
                group.pool.in_step, setup.joins[g], response.columns, response.kind, response.running,
                columns[setup.class_of[g]], answers[setup.class_of[g]],
            )  # fmt: skip
        for c in range(1, num_counts):
            columns[:, c] += columns[:, c - 1]
            answers[:, c] += answers[:, c - 1]
        kernel.control(
            kernel.Sums(columns, answers, setup.servers, setup.slowdown), setup.ladder, state, totals, SLOWDOWN_BINS,
            piece.first_s, piece.budget_w, piece.blind,
            track[:, piece.first_s : piece.first_s + piece.num_seconds],
        )  # fmt: skip
    return totals


def histogram(setup: Setup, totals: kernel.Totals) -> Floats:
    """(policies, counts, classes, bins) weight of slowdowns of a week."""
    counted = totals.waited.copy()
    bins = np.searchsorted(SLOWDOWN_BINS, setup.slowdown)
    for k, level, response in np.ndindex(bins.shape):
        counted[:, :, k, bins[k, level, response]] += totals.weight[:, :, k, level, response]
    return counted
