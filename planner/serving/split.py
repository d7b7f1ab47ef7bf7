"""Separate pools for prompts and for decoding (Splitwise: Patel et al., ISCA 2024).

KV caches move between pools of one *group*: the same place, market, engine and precision of the cache. Across regions
or between engines nobody moves them, and a cache of one precision is of no use to the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from planner.program import Floats, Ints
from planner.serving.offers import Offer
from planner.serving.spec import Service
from profiles.performance import Capacity, Iteration, Phase, Sizes, Slo, sustained_decode, sustained_prefill
from profiles.types import Layout

Unit = TypeVar("Unit")
NO_SHARE = 1e-12

Place = tuple[str, str]
"""Provider and region."""


@dataclass(frozen=True)
class Half:
    """What a pool that does one phase only is: its phase, where it is, and which other pools it works with."""

    role: Literal["prefill", "decode"]
    place: Place
    group: tuple[object, ...]
    phase: Phase


def halves(
    service: Service, layout: Layout, iteration: Iteration, capacity: Capacity, slo: Slo, sizes: Floats,
    places: Iterable[Place], *, spot: bool,
) -> list[Half]:  # fmt: skip
    """The prefill and the decode pool of ``layout`` in each place. ``sizes``: [B, 2] input and output tokens."""
    asked = Sizes(sizes[:, 0], sizes[:, 1], service.kv_link_gb_per_s)
    too_long = capacity.binding == "context"
    found = []
    for role, sustained in (("prefill", sustained_prefill), ("decode", sustained_decode)):
        phase = sustained(iteration, asked, slo)
        phase = replace(phase, requests_per_s=np.where(too_long, 0.0, phase.requests_per_s))
        for place in places:
            group = (place, spot, layout.engine, iteration.kv_bytes_per_token)
            found.append(Half("prefill" if role == "prefill" else "decode", place, group, phase))
    return found


def useful_places(offers: Sequence[Offer], *, comparable: bool) -> tuple[Place, ...]:
    """Places that a split service might be in. Where only prices tell places apart (``comparable``), one that has
    nothing for less than another with all it has is left out.
    """
    menus: dict[Place, dict[tuple[str, int, str], float]] = {}
    for offer in offers:
        menu = menus.setdefault((offer.provider, offer.region), {})
        kind = (offer.gpu, offer.num_gpus, offer.market)
        menu[kind] = min(menu.get(kind, np.inf), offer.usd_per_hour)
    kept: list[Place] = []
    for place in sorted(menus, key=lambda p: (-len(menus[p]), sum(menus[p].values()), p)):
        covered = any(_covers(menus[other], menus[place]) for other in kept)
        if not (comparable and covered):
            kept.append(place)
    return tuple(kept)


def _covers(menu: dict[tuple[str, int, str], float], other: dict[tuple[str, int, str], float]) -> bool:
    return all(kind in menu and menu[kind] <= usd for kind, usd in other.items())


def hand_over_groups(halves: Sequence[Half | None]) -> Ints:
    """[P] number of the group of each pool; -1 for unified pools (None)."""
    numbers: dict[tuple[object, ...], int] = {}
    return np.array([-1 if h is None else numbers.setdefault(h.group, len(numbers)) for h in halves], dtype=np.int64)


def matched(
    prefill: Sequence[tuple[Unit, float]], decode: Sequence[tuple[Unit, float]]
) -> list[tuple[Unit, Unit, float]]:
    """(prefill unit, decode unit, share) that hand over all that ``prefill`` units read: from the first to the first
    with room, so that there are few pairs. Both sides sum to the same.
    """
    pairs: list[tuple[Unit, Unit, float]] = []
    at, room = 0, [share for _, share in decode]
    for unit, share in prefill:
        left = share
        while left > NO_SHARE and at < len(decode):
            moved = min(left, room[at])
            if moved > NO_SHARE:
                pairs.append((unit, decode[at][0], moved))
            left -= moved
            room[at] -= moved
            at += room[at] <= NO_SHARE
    return pairs
