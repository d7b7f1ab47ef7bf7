"""The machine that a step runs on: one GPU type in equal nodes, and the links inside and between them."""

from __future__ import annotations

from dataclasses import dataclass

from profiles.types import GpuType


@dataclass(frozen=True)
class Link:
    """One tier of links. ``gb_per_s`` is one way: what a GPU (inside a node) or a whole node (between nodes) sends."""

    gb_per_s: float
    latency_us: float


@dataclass(frozen=True)
class Machine:
    """``num_nodes`` nodes of ``gpus_per_node`` GPUs.

    ``within`` joins the GPUs of a node, per GPU; ``between`` joins nodes, per *node*: the GPUs of a node that talk to
    other nodes at the same moment share it. ``host_gb_per_s`` is each GPU's link to host memory, ``nvme_gb_per_s`` each
    node's disks (0: none).
    """

    gpu: GpuType
    gpus_per_node: int
    num_nodes: int
    within: Link
    between: Link
    host_gb_per_s: float = 20.0
    host_memory_gib: float = 0.0
    nvme_gb_per_s: float = 0.0
    nvme_gib: float = 0.0

    @property
    def num_gpus(self) -> int:
        """Of all nodes."""
        return self.gpus_per_node * self.num_nodes
