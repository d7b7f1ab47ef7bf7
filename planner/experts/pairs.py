"""Two slots per GPU: folding packs optimally, so all that is left to choose is the number of copies.

Shapes: A layers, E experts, G GPUs, S = 2G slots, K neighbouring choices of copies.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from planner.experts.copies import neighbours
from planner.program import Floats, Ints

MOST_EXCHANGES = 60

Singles = npt.NDArray[np.float32]


def improve_pair_copies(load: Floats, copies: Ints, bound: Floats) -> Ints:
    """[A, E] copies whose hottest pair is cooler: best exchanges of a copy between two experts, until none helps.

    A hot copy needs a light one beside it, and one more copy of a light expert makes lighter ones; which light
    ones matter depends on what the hottest pair leaves room for. ``load`` is scaled, ``bound`` [A].
    """
    copies = copies.copy()
    hottest = _hottest_pair(load, copies)
    active = np.flatnonzero(hottest > bound)
    for _ in range(MOST_EXCHANGES):
        if not active.size or not (copies > 1).any():
            break
        choices = neighbours(
            load[active],
            copies[active],
            num_light=20,
            num_hot=8,
            num_donors=4,
            room=_room(load[active], copies[active]),
        )
        num_choices = choices.shape[1]
        flat = choices.reshape(-1, load.shape[1])
        peaks = _hottest_pair(np.repeat(load[active], num_choices, axis=0), flat).reshape(active.size, num_choices)
        best = peaks.argmin(axis=1)
        peak = peaks[np.arange(active.size), best]
        better = np.flatnonzero(peak < hottest[active] - 1e-6)
        copies[active[better]] = choices[better, best[better]]
        active = active[better]
        hottest[active] = peak[better]
    return copies


def _sorted_copies(load: Floats, copies: Ints) -> Singles:
    """[A, S] loads of the copies, lightest first; in single precision, which sorts twice as fast and only ranks."""
    share = (load / copies).astype(np.float32)
    loads = np.repeat(share.ravel(), copies.ravel()).reshape(len(load), -1)
    loads.sort(axis=1)
    return loads


def _hottest_pair(load: Floats, copies: Ints) -> Singles:
    """[A] load of the hottest GPU when the lightest copy joins the hottest, the second lightest the second hottest."""
    loads = _sorted_copies(load, copies)
    half = loads.shape[1] // 2
    hottest: Singles = (loads[:, :half] + loads[:, ::-1][:, :half]).max(axis=1)
    return hottest


def _room(load: Floats, copies: Ints) -> Singles:
    """[A] what the lighter copy of the hottest pair weighs: lighter copies than that relieve the pair."""
    loads = _sorted_copies(load, copies)
    half = loads.shape[1] // 2
    hottest = (loads[:, :half] + loads[:, ::-1][:, :half]).argmax(axis=1)
    room: Singles = loads[np.arange(len(loads)), hottest]
    return room
