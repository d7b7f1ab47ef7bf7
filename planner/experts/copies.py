"""How many copies each expert gets: water-filling, which is exactly optimal for the hottest copy.

Shapes: L layers, E experts, S slots of a layer. Even dispatch: each of c copies carries 1/c of its expert's load.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from planner.program import Floats, Ints


def water_fill(load: Floats, num_slots: int) -> Ints:
    """[L, E] copies of each expert, one at least and ``num_slots`` in all, that minimise the largest load per copy.

    Each further copy goes to the expert whose copies are hottest: for a sum-constrained min-max of functions
    w/c that fall with c, this greedy is exact (Fox, 1966). ``load`` is [L, E].
    """
    num_layers, num_experts = load.shape
    copies = np.ones((num_layers, num_experts), dtype=np.int64)
    share = load.copy()
    rows = np.arange(num_layers)
    for _ in range(num_slots - num_experts):
        hottest = share.argmax(axis=1)
        copies[rows, hottest] += 1
        share[rows, hottest] = load[rows, hottest] / copies[rows, hottest]
    return copies


def listed(copies: Ints) -> Ints:
    """[L, S] the expert of every copy, in expert order; ``copies`` is [L, E] with equal row sums."""
    num_layers, num_experts = copies.shape
    experts = np.tile(np.arange(num_experts), num_layers)
    return np.repeat(experts, copies.ravel()).reshape(num_layers, -1)


def counted(experts: Ints, num_experts: int) -> Ints:
    """[L, E] how often each expert occurs in ``experts`` [L, S]."""
    num_layers = experts.shape[0]
    keys = experts + np.arange(num_layers)[:, None] * num_experts
    return np.bincount(keys.ravel(), minlength=num_layers * num_experts).reshape(num_layers, num_experts)


def neighbours(
    load: Floats,
    copies: Ints,
    *,
    num_light: int,
    num_hot: int,
    num_donors: int,
    room: npt.NDArray[np.floating] | None = None,
) -> Ints:
    """[L, K, E] choices of copies one exchange away from ``copies`` [L, E].

    Receivers: the experts with the lightest copies, those with the hottest, and, where ``room`` [L] is given, those
    that one more copy brings just below it. Donors: the replicated experts whose copies heat up least.
    """
    num_experts = load.shape[1]
    share = load / copies
    order = np.argsort(share, axis=1)
    receivers = [order[:, :num_light], order[:, max(num_light, num_experts - num_hot) :]]
    if room is not None:
        after = load / (copies + 1)
        drops_below = (after <= room[:, None]) & (share > room[:, None])
        receivers.append(np.argsort(np.where(drops_below, -after, 0.0), axis=1)[:, : num_light // 2])
    receiver = np.concatenate(receivers, axis=1)
    heated = np.where(copies > 1, load / np.maximum(copies - 1, 1), np.inf)
    donor = np.argsort(heated, axis=1)[:, :num_donors]
    receiver, donor = (
        np.repeat(receiver, donor.shape[1], axis=1),
        np.tile(donor, receiver.shape[1]),
    )
    gives = np.take_along_axis(copies, donor, axis=1) > 1
    chosen = np.repeat(copies[:, None], receiver.shape[1], axis=1)
    row, choice = np.nonzero(gives)
    chosen[row, choice, receiver[row, choice]] += 1
    chosen[row, choice, donor[row, choice]] -= 1
    return chosen
