"""Many training configurations at once, as arrays: what memory and time are computed over.

Legend of shapes: N configurations. Degrees multiply to the world: tp · pp · cp · dp; ep divides dp · cp · tp and adds
no GPUs. ``shard`` of the dp · cp replicas share one copy of what ``zero`` says is sharded; the others hold it again
(hybrid sharding: shard within nodes, replicate between them).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

RECOMPUTE = ("none", "selective", "full")
"""What ``recompute`` counts through. Selective: attention scores only (Korthikanti et al., 2022, section 5)."""

OFFLOAD = ("none", "optimizer_cpu", "all_cpu", "optimizer_nvme", "all_nvme")
"""What ``offload`` counts through: optimizer states, or parameters too, in host memory or on NVMe (ZeRO-Infinity)."""

PRECISIONS = ("bf16", "fp8")
"""What ``precision`` counts through: of matrix products; weights and gradients stay in bf16 and fp32."""


@dataclass(frozen=True, eq=False)
class Layouts:
    """N configurations, arrays (N,) of whole numbers.

    Attributes
    ----------
    tp, pp, cp, dp, ep:
        degrees; dp counts replicas of the data, shards and copies together
    micro_batch:
        sequences in one micro-batch of one replica
    num_micro_batches:
        of one replica and step: global batch / (dp · micro_batch)
    virtual_stages:
        model chunks per pipeline rank; 1: plain 1F1B
    layers_first, layers_most, layers_last:
        layers of the first and last stage, and of the fullest stage (between them, or one of them)
    recompute:
        index into ``RECOMPUTE``
    recomputed_layers:
        layers of a stage whose activations are made again in the backward pass, where ``recompute`` is full; the
        others keep theirs (Megatron's ``--recompute-method block``)
    zero:
        0 none, 1 optimizer states sharded, 2 gradients too, 3 parameters too (FSDP)
    shard:
        replicas (of dp · cp) over which that is sharded; 1 with zero 0
    sequence_parallel:
        whether activations between matrix products are split over TP too
    precision:
        index into ``PRECISIONS``
    offload:
        index into ``OFFLOAD``
    """

    tp: Ints
    pp: Ints
    cp: Ints
    dp: Ints
    ep: Ints
    micro_batch: Ints
    num_micro_batches: Ints
    virtual_stages: Ints
    layers_first: Ints
    layers_most: Ints
    layers_last: Ints
    recompute: Ints
    recomputed_layers: Ints
    zero: Ints
    shard: Ints
    sequence_parallel: Flags
    precision: Ints
    offload: Ints

    def __len__(self) -> int:
        return len(self.tp)

    @property
    def world(self) -> Ints:
        """GPUs of each configuration."""
        return self.tp * self.pp * self.cp * self.dp

    def take(self, rows: NDArray[np.intp] | Flags) -> Layouts:
        """Those rows, in that order."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def joined(parts: list[Layouts]) -> Layouts:
    """All rows of ``parts``, in order."""
    return Layouts(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Layouts)})


def one_layout(
    *, tp: int = 1, pp: int = 1, cp: int = 1, dp: int = 1, ep: int = 1, micro_batch: int = 1, global_batch: int,
    num_layers: int, virtual_stages: int = 1, recompute: str = "none", zero: int = 0, shard: int | None = None,
    sequence_parallel: bool = False, precision: str = "bf16", offload: str = "none",
) -> Layouts:  # fmt: skip
    """A single configuration (N = 1) with layers as even as can be, the first and last stage the lightest.

    ``shard``: all of dp · cp unless said otherwise. Global batches that do not divide are rounded up to whole
    micro-batches.
    """
    least, over = divmod(num_layers, pp)
    most = least + (over > 0)
    ends = most if over in (0, pp) else least
    last = most if pp > 1 and over == pp - 1 else ends  # only one stage is light: the first one
    values = {
        "tp": tp, "pp": pp, "cp": cp, "dp": dp, "ep": ep, "micro_batch": micro_batch,
        "num_micro_batches": -(-global_batch // (dp * micro_batch)), "virtual_stages": virtual_stages,
        "layers_first": ends, "layers_most": most, "layers_last": last, "recompute": RECOMPUTE.index(recompute),
        "recomputed_layers": most if recompute == "full" else 0, "zero": zero,
        "shard": 1 if zero == 0 else dp * cp if shard is None else shard, "precision": PRECISIONS.index(precision),
        "offload": OFFLOAD.index(offload),
    }  # fmt: skip
    arrays = {name: np.array([value], dtype=np.int64) for name, value in values.items()}
    return Layouts(**arrays, sequence_parallel=np.array([sequence_parallel]))
