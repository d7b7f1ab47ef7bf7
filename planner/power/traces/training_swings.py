"""Power of a training job, second by second: all servers compute, communicate and write checkpoints in step.

The seconds between one checkpoint and the next are laid out once; a second that holds parts of several phases draws
their mean, so iterations shorter than two seconds hardly show. What swings faster than telemetry, capping cannot follow
either; it is for power supplies to bear.
"""

from __future__ import annotations

import numpy as np

from planner.power.demand import Pool, StateTable
from planner.power.workload import Training
from profiles.performance.answers import Floats
from profiles.performance.capping import PROMPTS, Phase
from profiles.types import GpuType

COMPUTING = PROMPTS
"""Bound by arithmetic, like prompts."""

COMMUNICATING = Phase(time_on_clock=0.0, power_on_clock=0.5)
"""The network sets the pace, not the clocks; half of the power follows them: an assumption. So for checkpoints."""

FINE = 100
"""Computing shares of a second are rounded to hundredths: so many states."""

SHORTEST_S = 600
"""Of what is laid out: at least a block of the simulation's, of several periods if one is shorter."""

LONGEST_S = 86_400


def training_pool(name: str, demand: Training, gpu: GpuType, num_gpus: int) -> Pool:
    """A pool of one level and one server, whose seconds are those of every server of workload ``name``.

    Work that a capped job cannot do in a second waits for nobody: the job as a whole takes longer, so ``busy`` is 0.
    """
    period_s = int(np.clip(np.ceil(demand.checkpoint_every_s), 1, LONGEST_S))
    training_s = period_s - min(round(demand.checkpoint_s), period_s - 1)
    compute = np.rint(FINE * _share_computing(demand, training_s)).astype(np.int64)
    period = np.concatenate([compute, np.full(period_s - training_s, FINE + 1)])
    states = np.tile(period, -(-SHORTEST_S // period_s)).astype(np.uint8)

    share = np.append(np.arange(FINE + 1) / FINE, 0.0)
    tdp_w, idle_w = num_gpus * gpu.tdp_w, num_gpus * gpu.idle_w
    computing_w = max(demand.compute_power * tdp_w - idle_w, 0.0) * share
    other_w = np.full(FINE + 2, max(demand.communicate_power * tdp_w - idle_w, 0.0)) * (1 - share)
    other_w[-1] = max(demand.checkpoint_power * tdp_w - idle_w, 0.0)
    active_w = np.maximum(computing_w + other_w, 1e-9)
    on_clock = computing_w * COMPUTING.power_on_clock + other_w * COMMUNICATING.power_on_clock
    return Pool(
        workload=name,
        table=StateTable(
            gpu_w=idle_w + computing_w + other_w,
            time_on_clock=share * COMPUTING.time_on_clock + (1 - share) * COMMUNICATING.time_on_clock,
            power_on_clock=on_clock / active_w,
            running=np.ones(FINE + 2),
            busy=np.zeros(FINE + 2),
        ),
        states=states[None, None],
        load=np.ones(1),
        in_step=True,
        origin=f"modelled: iterations of {demand.iteration_s:g} s, checkpoints every {demand.checkpoint_every_s:g} s",
        notes=("powers of its phases are shares of TDP as given; their answer to clocks is an assumption",),
    )


def _share_computing(demand: Training, seconds: int) -> Floats:
    """(seconds,) share of each second that is spent computing; iterations begin with it."""
    edges = np.arange(seconds + 1) / demand.iteration_s
    whole = np.floor(edges)
    computed_s = demand.iteration_s * (whole * demand.compute_share + np.minimum(edges - whole, demand.compute_share))
    return np.clip(np.diff(computed_s), 0.0, 1.0)
