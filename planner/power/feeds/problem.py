"""A site as numbers: which circuits carry which share of each row in which failure, and which rows are alike.

Shapes: R rows, G groups, C circuits, P patterns. A *circuit* is a feed, a PDU or a row with one failure; a *pattern* is
how many servers of each group hang on one phase.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from planner.errors import InvalidInput
from planner.power.feeds.multiplexing import Crowd, GroupProfile, crowd_of, loads_at_risk
from planner.power.site import Site
from planner.program import Floats, Ints

MOST_PATTERNS = 60_000
"""Patterns of one kind of phase that are worth listing: two seconds of computing. Beyond it planes must do."""

ONE_EMPTY = 0.5
"""With this imbalance one of three phases may be empty, the other two being alike."""

WHOLE_BUDGET = 1 + 1e-9
"""Loads are compared with budgets up to rounding."""


@dataclass(frozen=True, eq=False)
class Circuit:
    """A feed, PDU or row: it carries ``share`` (R,) of each row's power when ``failed_feed`` is down."""

    name: str
    level: Literal["feed", "pdu", "row"]
    budget_w: float
    failed_feed: str | None
    share: Floats


@dataclass(frozen=True, eq=False)
class Patterns:
    """``counts`` (P, G) of one phase, the ``load_w`` (P,) that it must carry and its ``average_w`` (P,)."""

    counts: Ints
    load_w: Floats
    average_w: Floats


@dataclass(frozen=True, eq=False)
class Kind:
    """Rows that are alike: same PDUs, budget, slots and phases.

    ``patterns``: all that fit a phase; None: too many. ``max_imbalance``: see ``Site``; None where it does not matter.
    ``together``: so many phases are empty together or not at all.
    """

    rows: Ints
    num_phases: int
    slots: int
    phase_w: float
    patterns: Patterns | None
    max_imbalance: float | None
    together: int = 1


@dataclass(frozen=True, eq=False)
class Problem:
    """What there is to place: ``asked`` (G,) of ``crowd``, on rows of ``kinds``, within what ``circuits`` carry."""

    crowd: Crowd
    asked: Ints
    kinds: tuple[Kind, ...]
    circuits: tuple[Circuit, ...]

    @property
    def num_rows(self) -> int:
        """R."""
        return sum(kind.rows.size for kind in self.kinds)

    @cached_property
    def budget_w(self) -> Floats:
        """(C,) of the circuits."""
        return np.array([circuit.budget_w for circuit in self.circuits])

    @cached_property
    def share(self) -> Floats:
        """(C, R) of the rows' power that circuits carry."""
        return np.array([circuit.share for circuit in self.circuits])


def problem_of(site: Site, profiles: Sequence[GroupProfile]) -> Problem:
    """``site`` in numbers.

    Raises
    ------
    InvalidInput
        for groups without or with impossible profiles, and where no phase carries a single server of a group.
    """
    crowd = crowd_of([group.workload for group in site.groups], profiles, site.max_risk)
    alike: dict[tuple[object, ...], list[int]] = {}
    for r, row in enumerate(site.rows):
        alike.setdefault((frozenset(row.pdus), row.budget_w, row.slots, row.phases), []).append(r)
    listed: dict[tuple[float, int], Patterns | None] = {}
    kinds = []
    for rows in alike.values():
        row = site.rows[rows[0]]
        phase_w = row.budget_w / row.phases
        if (phase_w, row.slots) not in listed:
            listed[phase_w, row.slots] = patterns_of(crowd, phase_w, row.slots)
        imbalance = site.max_imbalance if row.phases > 1 else None
        kinds.append(Kind(np.array(rows), row.phases, row.slots, phase_w, listed[phase_w, row.slots], imbalance))
    _refuse_too_small(site, crowd)
    asked = np.array([group.num_servers for group in site.groups])
    return Problem(crowd, asked, tuple(kinds), circuits_of(site))


def circuits_of(site: Site) -> tuple[Circuit, ...]:
    """Feeds, PDUs and rows, each in every failure that adds to its load; without a failure where none does."""
    feed_of = {pdu.name: pdu.feed for pdu in site.pdus}
    circuits = []
    for feed in site.feeds:
        own = {pdu.name for pdu in site.pdus if pdu.feed == feed.name}
        circuits += _in_failures(site, feed_of, Circuit(feed.name, "feed", feed.budget_w, None, np.zeros(0)), own)
    for pdu in site.pdus:
        circuits += _in_failures(site, feed_of, Circuit(pdu.name, "pdu", pdu.budget_w, None, np.zeros(0)), {pdu.name})
    for row, share in zip(site.rows, np.eye(len(site.rows)), strict=True):
        circuits.append(Circuit(row.name, "row", row.budget_w, None, share))
    return tuple(circuits)


def _in_failures(site: Site, feed_of: dict[str, str], circuit: Circuit, own: set[str]) -> list[Circuit]:
    """``circuit``, which draws through its ``own`` PDUs, in each failure of a feed with which it shares a row."""
    sharing = {feed_of[pdu] for row in site.rows if own & set(row.pdus) for pdu in row.pdus}
    others = sharing - {feed_of[pdu] for pdu in own} if site.redundancy != "N" else set()
    failures: list[str | None] = [*sorted(others)] or [None]
    return [replace(circuit, failed_feed=failed, share=_shares(site, feed_of, own, failed)) for failed in failures]


def _shares(site: Site, feed_of: dict[str, str], own: set[str], failed: str | None) -> Floats:
    """(R,) of each row's power that comes through its ``own`` PDUs; rows draw evenly from those that are left."""
    left = [[pdu for pdu in row.pdus if feed_of[pdu] != failed] for row in site.rows]
    return np.array([len(own & set(pdus)) / len(pdus) if pdus else 0.0 for pdus in left])


def patterns_of(crowd: Crowd, phase_w: float, slots: int) -> Patterns | None:
    """All patterns that one phase of ``phase_w`` and ``slots`` carries, the empty one first; None if too many."""
    alone = np.minimum(phase_w // crowd.average_w, slots).astype(np.int64)
    if np.prod(alone + 1.0) > 20 * MOST_PATTERNS:
        return None
    counts = np.stack(np.meshgrid(*[np.arange(most + 1) for most in alone], indexing="ij"), axis=-1)
    counts = counts.reshape(-1, alone.size)
    counts = counts[(counts.sum(axis=1) <= slots) & (counts @ crowd.average_w <= phase_w)]
    if len(counts) > MOST_PATTERNS:
        return None
    patterns = weighed(crowd, counts)
    fits = patterns.load_w <= phase_w * WHOLE_BUDGET
    return Patterns(counts[fits], patterns.load_w[fits], patterns.average_w[fits])


def weighed(crowd: Crowd, counts: Ints) -> Patterns:
    """Patterns ``counts`` (P, G) with their loads."""
    weight = counts.astype(np.float64)
    return Patterns(counts, loads_at_risk(crowd, weight, weight), weight @ crowd.average_w)


def pooled(problem: Problem) -> Problem:
    """The same with all rows of a kind as one long row: what is left to say is which of its phases make a row.

    Empty phases come in whole rows, as they could not be balanced with others.
    """
    kinds = tuple(
        replace(
            kind, rows=np.array([k]), num_phases=kind.rows.size * kind.num_phases, slots=kind.rows.size * kind.slots,
            max_imbalance=kind.max_imbalance if kind.rows.size == 1 else None,
            together=kind.num_phases if (kind.max_imbalance or 0.0) < ONE_EMPTY else 1,
        )
        for k, kind in enumerate(problem.kinds)
    )  # fmt: skip
    first = [kind.rows[0] for kind in problem.kinds]
    circuits = tuple(
        replace(circuit, share=circuit.share[first]) for circuit in problem.circuits if circuit.level != "row"
    )
    return Problem(problem.crowd, problem.asked, kinds, circuits)


def alone(problem: Problem, kind: Kind, asked: Ints) -> Problem:
    """Only the rows of ``kind``, numbered from 0, for ``asked`` (G,) servers; nothing but its phases limits them."""
    return Problem(problem.crowd, asked, (replace(kind, rows=np.arange(kind.rows.size)),), ())


def circuit_loads(problem: Problem, counts: Ints) -> Floats:
    """(C,) load at risk of every circuit, with ``counts`` (R, G) servers on the rows."""
    return loads_at_risk(problem.crowd, problem.share @ counts, problem.share**2 @ counts)


def _refuse_too_small(site: Site, crowd: Crowd) -> None:
    one = np.eye(len(site.groups))
    needed_w = loads_at_risk(crowd, one, one)
    best = max(site.rows, key=lambda row: row.budget_w / row.phases)
    phase_w = best.budget_w / best.phases
    for group, need_w in zip(site.groups, needed_w.tolist(), strict=True):
        if need_w > phase_w * WHOLE_BUDGET:
            raise InvalidInput(
                f"no phase carries a single server of {group.workload!r}: it needs {need_w:,.0f} W, and a phase of "
                f"{best.name!r} has {phase_w:,.0f} W",
                field="site.rows",
                fix=f"a budget_w of {need_w * best.phases:,.0f} or more, or fewer phases",
            )
