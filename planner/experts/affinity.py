"""Placing experts so that tokens stay where they are: sweeps of assignment problems, then load-capped swaps.

Items are copies: an expert with c copies is c items with 1/c of its load and routes, so that every bin (GPU or node)
holds equally many. With the other layers fixed, the best bins for one layer are an assignment problem; sweeping back
and forth over the layers can only improve (ExFlow solves all layers at once as one integer program, section 5.2, which
takes hours at 58 × 256). Swaps then bring the load under the cap and improve within it.

Shapes: L layers, S items of a layer, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.clock import Clock
from planner.program import Bools, Floats, Ints

WITHIN_NODE = 0.01
"""Worth of staying on the same GPU against staying on the same node, where there are both."""


@dataclass(frozen=True)
class Items:
    """What is placed.

    ``load`` [L, S]. ``routes[l]`` [S, S]: tokens from item to item of the next layer, for the objective hops; or
    ``together[l]`` [S, S], symmetric: tokens that use both items in one layer, for node fan-out. Only one is used.
    """

    load: Floats
    routes: tuple[Floats, ...] = ()
    together: tuple[Floats, ...] = ()

    def attraction(self, bins: Ints, layer: int, num_bins: int, area: Ints | None = None) -> Floats:
        """[S, B] tokens that each item of ``layer`` shares with what each bin holds; ``bins`` is [L, S].

        With ``area`` [B], the node of each GPU: with what its whole node holds, and ``WITHIN_NODE`` times the GPU.
        """
        if area is not None:
            by_node = self.attraction(area[bins], layer, int(area[-1]) + 1)
            return by_node[:, area] + WITHIN_NODE * self.attraction(bins, layer, num_bins)
        if self.together:
            return _summed(self.together[layer], bins[layer], num_bins)
        pull = np.zeros((self.load.shape[1], num_bins))
        if layer > 0:
            pull += _summed(self.routes[layer - 1].T, bins[layer - 1], num_bins)
        if layer < len(bins) - 1:
            pull += _summed(self.routes[layer], bins[layer + 1], num_bins)
        return pull


def sweep_assignments(items: Items, bins: Ints, num_bins: int, *, max_sweeps: int, clock: Clock) -> Ints:
    """[L, S] bins after reassigning one layer at a time, back and forth, until a sweep gains less than 0.1%.

    Ignores load. The first sweep builds the chain layer by layer from ``bins[0]``, looking back only.
    """
    from scipy.optimize import linear_sum_assignment  # here: most plans do not need it, and start-up time counts

    bins = bins.copy()
    num_layers, num_items = bins.shape
    size = num_items // num_bins

    def reassign(layer: int, pull: Floats) -> float:
        before = float(pull[np.arange(num_items), bins[layer]].sum())
        item, seat = linear_sum_assignment(np.repeat(pull, size, axis=1), maximize=True)
        bins[layer, item] = seat // size
        return float(pull[np.arange(num_items), bins[layer]].sum()) - before

    for layer in range(1, num_layers):
        reassign(layer, _summed(items.routes[layer - 1].T, bins[layer - 1], num_bins))
    for sweep in range(max_sweeps):
        order = range(num_layers - 2, -1, -1) if sweep % 2 == 0 else range(1, num_layers)
        gained = 0.0
        for layer in order:
            if clock.is_over():
                return bins
            gained += reassign(layer, items.attraction(bins, layer, num_bins))
        if gained < 1e-3 * max(num_layers - 1, 1):
            break
    return bins


def swap_under_cap(
    items: Items, bins: Ints, num_bins: int, cap: Floats, *, area: Ints | None = None, max_sweeps: int, clock: Clock
) -> None:
    """Swap items in place: first until no bin of layer l exceeds ``cap[l]``, then whatever keeps more tokens in place.

    ``bins`` is [L, S]. ``area`` [B] is the node of each bin, where bins are GPUs of several nodes.
    """
    for _ in range(max_sweeps):
        moved = 0
        for layer in range(len(bins)):
            _cool_down(items, bins, layer, num_bins, float(cap[layer]), area)
            if clock.is_over():
                continue  # the cap is a promise; fewer hops are a wish
            moved += _swap_layer(items, bins, layer, num_bins, float(cap[layer]), area)
        if not moved:
            return


def _gains(items: Items, bins: Ints, layer: int, num_bins: int, area: Ints | None) -> Floats:
    """[S, S] tokens that a swap of two items keeps in place; −inf within a bin and across areas."""
    row = bins[layer]
    pull = items.attraction(bins, layer, num_bins, area)
    at_other = pull[:, row]
    own = np.diagonal(at_other)
    gain = at_other + at_other.T - own[:, None] - own
    if items.together:
        # Both count each other as if they met after the swap; they only do if their node is the same before and after.
        met = np.zeros_like(gain, dtype=bool) if area is None else area[row][:, None] == area[row]
        gain = gain - 2 * items.together[layer] * (
            np.where(met, WITHIN_NODE, 1 + WITHIN_NODE) if area is not None else 1.0
        )
    gain[row[:, None] == row] = -np.inf
    return gain


def _swap_layer(items: Items, bins: Ints, layer: int, num_bins: int, cap: float, area: Ints | None) -> int:
    """Make improving swaps within ``cap`` until there is none; returns how many."""
    load, row = items.load[layer], bins[layer]
    num_items = row.size
    done = 0
    for _ in range(num_items):
        total: Floats = np.bincount(row, load, num_bins).astype(float)
        gain = _gains(items, bins, layer, num_bins, area)
        limit = max(cap, float(total.max()))
        change = load - load[:, None]  # [i, j]: what i's bin gains in load
        fits = (total[row][:, None] + change <= limit) & (total[row] - change <= limit)
        gain = np.where(fits, np.triu(gain, 1), -np.inf)
        best = _best_per_item(gain)
        if not best.size:
            break
        done += _apply(best, gain.shape[1], load, row, total, limit, by_bin=bool(items.together))
    return done


def _best_per_item(gain: Floats) -> Ints:
    """Flat indices of the best swap of every item that has one that gains, largest gain first; ``gain`` is [S, S]."""
    partner = gain.argmax(axis=1)
    value = gain[np.arange(len(gain)), partner]
    order = np.argsort(-value, kind="stable")
    order = order[value[order] > 1e-12]
    result: Ints = order * len(gain) + partner[order]
    return result


def _apply(best: Ints, width: int, load: Floats, row: Ints, total: Floats, limit: float, *, by_bin: bool) -> int:
    """Make the swaps of ``best``, in order, whose items (bins, if gains depend on them) no earlier one touched."""
    touched: set[int] = set()
    done = 0
    for flat in best.tolist():
        i, j = divmod(flat, width)
        a, b = int(row[i]), int(row[j])
        keys = {a, b} if by_bin else {i, j}
        change = load[j] - load[i]
        if keys & touched or total[a] + change > limit or total[b] - change > limit:
            continue
        total[a] += change
        total[b] -= change
        row[i], row[j] = b, a
        touched |= keys
        done += 1
    return done


def _cool_down(items: Items, bins: Ints, layer: int, num_bins: int, cap: float, area: Ints | None) -> None:
    """Swaps out of the hottest bin, cheapest per load first, until it is under ``cap`` or nothing cools it."""
    load, row = items.load[layer], bins[layer]
    for _ in range(4 * row.size):
        total = np.bincount(row, load, num_bins)
        hot = int(total.argmax())
        if total[hot] <= cap:
            return
        gain = _gains(items, bins, layer, num_bins, area)
        mine = np.flatnonzero(row == hot)
        change = load[mine][:, None] - load  # [mine, S] what the hot bin sheds
        after = np.maximum(total[hot] - change, total[row] + change)
        shed = np.minimum(total[hot] - after, total[hot] - cap)
        cools: Bools = (shed > 1e-12) & np.isfinite(gain[mine])
        if not cools.any():
            return
        cost = np.where(cools, (1e-9 - np.minimum(gain[mine], 0)) / np.maximum(shed, 1e-12), np.inf)
        i, j = np.unravel_index(int(cost.argmin()), cost.shape)
        row[mine[i]], row[j] = row[j], hot


def _summed(tokens: Floats, bins: Ints, num_bins: int) -> Floats:
    """[S, B] the columns of ``tokens`` [S, S] summed by the bin [S] of each; equally many columns per bin.

    Not a matrix product: BLAS would start threads for less work than they cost.
    """
    result: Floats = tokens[:, np.argsort(bins, kind="stable")].reshape(len(tokens), num_bins, -1).sum(axis=2)
    return result
