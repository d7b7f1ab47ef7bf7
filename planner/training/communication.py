"""What the messages of a training step cost on given links: the objective of a mapping, written from its definition.

Maths. Rank (s, d, c, t) is the t-th of its tensor-parallel group, of the c-th context-parallel part of replica d on
pipeline stage s; g(s, d, c, t) is its GPU, ν(g) that GPU's node. Messages fall into *phases*; all messages of a phase
run at once. A message of b GB from GPU i to GPU j takes

    time(i → j) = b · share(i → j) / B[i, j]
    share(i → j) = messages that GPU i sends inside its node                                  if ν(i) = ν(j)
                 = max(1, max(messages leaving node ν(i), messages entering ν(j)) / num_nics)     otherwise

and the phases, with their messages, are

    tp   (s,d,c,t) → (s,d,c,t+1 mod tp)       b = 2 (tp − 1)/tp · tp_gb    a ring all-reduce per (s,d,c)
    cp   (s,d,c,t) → (s,d,c+1 mod cp,t)       b = (cp − 1) · cp_gb         a ring of keys and values per (s,d,t)
    dp   q → q + 1 mod n on (s,t),            b = 2 (n − 1)/n · dp_gb[s]   a ring all-reduce per (s,t), all stages
         where q = c + cp·d, n = dp · cp                                   at once
    ep   r → r' for all pairs of a group      b = ep_gb / ep               an all-to-all; a group is ep consecutive
                                                                           r = t + tp (c + cp d) of a stage
    forward   (s,d,c,t) → (s+1,d,c,t)         b = p2p_gb                   all stages at once
    backward  (s+1,d,c,t) → (s,d,c,t)         b = p2p_gb                   the same

    seconds =  tp_times · max time over tp's messages  +  the same of cp, ep and dp (dp_times = 1)
             + p2p_times · max over (d,c,t) of Σ over s < pp − 1 of (time forward + time backward)
             + compute

A ring is as fast as its slowest hop; a pipeline passes a micro-batch there and back once per exposed trip (Pipette,
DATE 2024, section IV). With V(s) the speed of stage s's slowest GPU and ``stage_s`` given at speed 1, compute is

    "none"      max over s of stage_s[s] / V(s)                                        equal layers, equal batches
    "layers"    Σ stage_s / Σ V                                                        layers in proportion to V
    "batches"   dp / Σ over d of 1 / (max over s of stage_s[s] / slowest of (s, d))     micro-batches in proportion
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from planner.errors import InvalidInput
from planner.program import Floats, Ints
from planner.training.fabric import Fabric

Uneven = Literal["none", "layers", "batches"]
"""What makes up for slower GPUs: nothing, fewer layers for their stage, or fewer micro-batches for their replica."""


@dataclass(frozen=True)
class Degrees:
    """Of parallelism. ``ep`` divides dp · cp · tp and adds no GPUs (expert tensor parallelism 1)."""

    tp: int = 1
    cp: int = 1
    dp: int = 1
    pp: int = 1
    ep: int = 1

    def __post_init__(self) -> None:
        for name in ("tp", "cp", "dp", "pp", "ep"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}", field=name, fix="degrees are 1 or more")
        if self.per_stage % self.ep:
            raise InvalidInput(
                f"ep {self.ep} does not divide the {self.per_stage} ranks of a stage", field="ep",
                fix="give a divisor of tp · cp · dp",
            )  # fmt: skip

    @property
    def per_stage(self) -> int:
        """Ranks of a pipeline stage."""
        return self.tp * self.cp * self.dp

    @property
    def world(self) -> int:
        """Ranks."""
        return self.per_stage * self.pp


@dataclass(frozen=True, eq=False)
class Traffic:
    """What messages carry, in GB (1e9 bytes), and how often they are sent in a step.

    Attributes
    ----------
    tp_gb, tp_times:
        of a tensor that is all-reduced over TP, and all-reduces of one GPU's stage in a step
    cp_gb, cp_times:
        keys and values that a GPU passes on in one hop of ring attention, and rings per step
    ep_gb, ep_times:
        tokens that a GPU hands out in one all-to-all, and all-to-alls per step
    p2p_gb, p2p_times:
        activations between two stages, and trips there and back that nothing hides, per step
    dp_gb:
        (pp,) gradients of one GPU of each stage; one value for all stages is spread
    stage_s:
        (pp,) seconds that each stage computes per step at speed 1; default: 0
    """

    tp_gb: float = 0.0
    tp_times: float = 0.0
    cp_gb: float = 0.0
    cp_times: float = 0.0
    ep_gb: float = 0.0
    ep_times: float = 0.0
    p2p_gb: float = 0.0
    p2p_times: float = 0.0
    dp_gb: Floats = field(default_factory=lambda: np.zeros(1))
    stage_s: Floats = field(default_factory=lambda: np.zeros(1))

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            values = np.asarray(value, dtype=float)
            if not (np.isfinite(values) & (values >= 0)).all() or values.ndim > 1:
                raise InvalidInput(f"{name} must be finite and not negative", field=name, fix="correct the value")

    def per_stage(self, name: str, pp: int) -> Floats:
        """(pp,) ``dp_gb`` or ``stage_s``; raises ``InvalidInput`` where their number is neither 1 nor ``pp``."""
        values = np.atleast_1d(np.asarray(getattr(self, name), dtype=float))
        if len(values) not in (1, pp):
            raise InvalidInput(f"{len(values)} values for {pp} stages", field=name, fix="give one per stage")
        return np.broadcast_to(values, pp)


@dataclass(frozen=True)
class StepSeconds:
    """Seconds of one step by what they are spent on; ``compute_s`` is 0 where no stage times were given."""

    tp_s: float
    cp_s: float
    ep_s: float
    dp_s: float
    p2p_s: float
    compute_s: float

    @property
    def total_s(self) -> float:
        """What a mapping makes least."""
        return self.tp_s + self.cp_s + self.ep_s + self.dp_s + self.p2p_s + self.compute_s


def step_seconds(
    grid: Ints, degrees: Degrees, fabric: Fabric, traffic: Traffic, uneven: Uneven = "layers"
) -> StepSeconds:
    """The objective for ``grid`` (pp, dp, cp, tp), the GPU of each rank."""
    tp, cp, dp, pp, ep = degrees.tp, degrees.cp, degrees.dp, degrees.pp, degrees.ep
    tp_hops = _times(fabric, grid, np.roll(grid, -1, axis=3)) if tp > 1 else np.zeros(1)
    cp_hops = _times(fabric, grid, np.roll(grid, -1, axis=2)) if cp > 1 else np.zeros(1)
    members = dp * cp
    rings = grid.reshape(pp, members, tp)
    dp_hops = _times(fabric, rings, np.roll(rings, -1, axis=1)) if members > 1 else np.zeros((pp, 1, 1))
    dp_gb = 2 * (members - 1) / members * traffic.per_stage("dp_gb", pp)
    groups = grid.reshape(-1, ep)
    one, other = (groups[:, k[~np.eye(ep, dtype=bool)]] for k in np.indices((ep, ep)))
    ep_hops = _times(fabric, one, other) if ep > 1 else np.zeros(1)
    trips = _times(fabric, grid[:-1], grid[1:]) + _times(fabric, grid[1:], grid[:-1])
    return StepSeconds(
        tp_s=traffic.tp_times * 2 * (tp - 1) / tp * traffic.tp_gb * float(tp_hops.max()),
        cp_s=traffic.cp_times * (cp - 1) * traffic.cp_gb * float(cp_hops.max()),
        ep_s=traffic.ep_times * traffic.ep_gb / ep * float(ep_hops.max()),
        dp_s=float((dp_gb * dp_hops.max(axis=(1, 2))).max()),
        p2p_s=traffic.p2p_times * traffic.p2p_gb * float(trips.sum(axis=0).max()),
        compute_s=compute_seconds(fabric.speed[grid].min(axis=(2, 3)), traffic.per_stage("stage_s", pp), uneven),
    )


def compute_seconds(speed: Floats, stage_s: Floats, uneven: Uneven) -> float:
    """Of a step, with ``speed`` (pp, dp) of the slowest GPU of each stage of each replica."""
    if uneven == "layers":
        return float(stage_s.sum() / speed.min(axis=1).sum())
    if uneven == "none":
        return float((stage_s / speed.min(axis=1)).max())
    slowest = (stage_s[:, None] / speed).max(axis=0)  # (dp,)
    return float(speed.shape[1] / (1 / slowest).sum()) if slowest.all() else 0.0


def _times(fabric: Fabric, sender: Ints, receiver: Ints) -> Floats:
    """Seconds per GB of each message of a phase, in the shape of ``sender``."""
    away = fabric.node[sender] != fabric.node[receiver]
    leaving = np.bincount(fabric.node[sender][away], minlength=fabric.num_nodes)
    entering = np.bincount(fabric.node[receiver][away], minlength=fabric.num_nodes)
    inside = np.bincount(sender[~away], minlength=fabric.num_gpus)
    crowd = np.maximum(leaving[fabric.node[sender]], entering[fabric.node[receiver]]) / fabric.num_nics
    share = np.where(away, np.maximum(crowd, 1.0), inside[sender])
    times: Floats = share / fabric.gb_per_s[sender, receiver]
    return times
