"""Where each rank runs: ranks of tp × cp × dp × pp mapped to GPUs with uneven links so that a step communicates least.

The objective is ``communication.step_seconds``; its docstring has the maths. Pipette (DATE 2024, sections IV and V)
dedicates workers by simulated annealing over the pipeline and stage 0's ring; here every ring of every stage counts,
nodes share NICs, and ring orders are searched too. How a mapping is found:

1. Ranks that talk most stay together: ``blocks`` puts TP groups inside nodes where they fit; CP groups at first too.
2. ``place_blocks`` starts from regular orders, on nodes as they are numbered and along a chain of fast links.
3. ``anneal`` moves blocks, replicas, stages and whole nodes, and turns parts of rings round.
4. Of few blocks, it then tries every mapping that could still be better, which proves the best one.

``bound`` says how far below no mapping can get.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from planner.clock import Clock
from planner.errors import InvalidInput
from planner.program import Ints
from planner.training.blocks import Slots, block_sizes, blocks_of, slots_of
from planner.training.bound import bound_seconds
from planner.training.communication import Degrees, StepSeconds, Traffic, Uneven, step_seconds
from planner.training.fabric import Fabric
from planner.training.place_blocks import place_blocks, starts_of

Order = Literal["tp-cp-ep-dp-pp", "tp-cp-ep-pp-dp"]
"""Which degree ranks count through first: Megatron-LM's default, and its ``--use-tp-pp-dp-mapping``."""

ORDERS: tuple[Order, ...] = ("tp-cp-ep-dp-pp", "tp-cp-ep-pp-dp")


@dataclass(frozen=True, eq=False)
class Mapping:
    """A mapping and what it is worth.

    Attributes
    ----------
    gpu_of_rank:
        (world,) GPU of each rank, ranks numbered in the order asked for
    seconds, default_seconds, best_simple_seconds:
        of a step: this mapping; rank r on GPU r; the better of the two fixed orders on GPUs 0, 1, 2 and so on
    bound_seconds:
        no mapping at all takes less, proven (``bound``)
    proven:
        whether none is better among those that keep each block on one node: all of them were covered
    block_size:
        ranks that were kept together on a node: tp where a node has room for a TP group
    moves:
        tried by the search
    """

    gpu_of_rank: Ints
    seconds: StepSeconds
    default_seconds: StepSeconds
    best_simple_seconds: StepSeconds
    bound_seconds: float
    proven: bool
    block_size: int
    moves: int


def map_ranks(
    degrees: Degrees, fabric: Fabric, traffic: Traffic, *, order: Order = "tp-cp-ep-dp-pp", uneven: Uneven = "layers",
    seed: int = 0, time_limit_s: float = 10.0,
) -> Mapping:  # fmt: skip
    """Put the ranks of ``degrees`` on GPUs of ``fabric`` so that a step's ``traffic`` takes the fewest seconds found.

    With fewer ranks than GPUs it chooses which stay idle. The number of moves follows from the sizes, so that equal
    seeds give equal mappings unless ``time_limit_s`` comes first. Raises ``InvalidInput`` where there are more ranks
    than GPUs, or a number per stage is not one per stage.
    """
    if degrees.world > fabric.num_gpus:
        raise InvalidInput(
            f"tp · cp · dp · pp is {degrees.world}, but there are {fabric.num_gpus} GPUs", field="dp",
            fix="lower a degree, or add nodes",
        )  # fmt: skip
    if order not in ORDERS:
        raise InvalidInput(f"{order!r} is not an order of ranks", field="order", fix=f"use {' or '.join(ORDERS)}")
    clock = Clock(time_limit_s)

    def seconds(grid: Ints) -> StepSeconds:
        return step_seconds(grid, degrees, fabric, traffic, uneven)

    simple = {name: _grid(np.arange(degrees.world), degrees, name) for name in ORDERS}
    grids, proven, moves, size = list(simple.values()), False, 0, 0
    for size in block_sizes(degrees, fabric):
        slots = slots_of(fabric, size)
        blocks = blocks_of(degrees, fabric, traffic, slots, uneven)
        before = (_slots_of_blocks(grid, slots) for grid in grids[len(simple) :])
        starts = [*(slot for slot in before if slot is not None), *starts_of(degrees, fabric, slots)]
        found = place_blocks(blocks, starts, alike=slots.alike, seed=seed, clock=clock)
        grids.append(slots.gpus[found.slot[: degrees.world // size]].reshape(grids[0].shape))
        proven, moves = found.proven and slots.alike, moves + found.moves
    best = min(grids, key=lambda grid: seconds(grid).total_s)
    return Mapping(
        gpu_of_rank=_ranks(best, order),
        seconds=seconds(best),
        default_seconds=seconds(simple[order]),
        best_simple_seconds=min((seconds(grid) for grid in simple.values()), key=lambda s: s.total_s),
        bound_seconds=bound_seconds(degrees, fabric, traffic, uneven),
        proven=proven,
        block_size=size,
        moves=moves,
    )


def _slots_of_blocks(grid: Ints, slots: Slots) -> Ints | None:
    """(S,) slot of each block of ``grid``, then the idle ones; None where blocks do not fill whole slots."""
    slot_of_gpu = np.full(slots.gpus.max() + 1, -1)
    slot_of_gpu[slots.gpus] = np.arange(len(slots.gpus))[:, None]
    used = slot_of_gpu[grid.reshape(-1, slots.gpus.shape[1])]
    if (used < 0).any() or (used != used[:, :1]).any():
        return None
    return np.concatenate([used[:, 0], np.setdiff1d(np.arange(len(slots.gpus)), used[:, 0])])


def _grid(gpu_of_rank: Ints, degrees: Degrees, order: Order) -> Ints:
    """(pp, dp, cp, tp) GPUs, from those of ranks in ``order``."""
    if order == "tp-cp-ep-dp-pp":
        return gpu_of_rank.reshape(degrees.pp, degrees.dp, degrees.cp, degrees.tp)
    return gpu_of_rank.reshape(degrees.dp, degrees.pp, degrees.cp, degrees.tp).swapaxes(0, 1)


def _ranks(grid: Ints, order: Order) -> Ints:
    """(world,) the other way round."""
    return (grid if order == "tp-cp-ep-dp-pp" else grid.swapaxes(0, 1)).ravel()
