"""The cluster to train on: groups of equal nodes, their links, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from planner.types import Frozen
from profiles.types import Name, UsdPerHour

Speed = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Nic = Literal["infiniband", "roce", "ethernet"]

MOST_GPUS = 200_000

NIC_SHARE: dict[Nic, float] = {"infiniband": 0.9, "roce": 0.8, "ethernet": 0.55}
"""Of the line rate that collectives reach: assumptions, in the order that Holmes (2023, table 1) measured the three."""

NIC_LATENCY_US: dict[Nic, float] = {"infiniband": 8.0, "roce": 12.0, "ethernet": 40.0}
"""Of one message between nodes, NCCL included: assumptions."""

WITHIN_LATENCY_US = 6.0
"""Of one message inside a node, NCCL included: an assumption."""


class NodeGroup(Frozen):
    """Equal nodes. Links are one way: per GPU inside a node, per node between nodes, at line rate."""

    name: Name = "nodes"
    gpu: Name
    nodes: Annotated[int, Field(ge=1, le=MOST_GPUS)]
    gpus_per_node: Annotated[int, Field(ge=1, le=256)] = 8
    within_gb_per_s: Speed | None = Field(default=None, description="default: of the GPU type's own link")
    between_gb_per_s: Speed = Field(default=50.0, description="all NICs of a node together")
    nic: Nic = "infiniband"
    host_memory_gib: NotNegative = Field(default=0.0, description="that offloaded states may use, per node")
    host_gb_per_s: Speed = Field(default=20.0, description="of each GPU's link to host memory")
    nvme_gib: NotNegative = Field(default=0.0, description="per node")
    nvme_gb_per_s: NotNegative = Field(default=0.0, description="of a node's disks")
    usd_per_gpu_hour: UsdPerHour | None = Field(
        default=None, description="default: the cheapest on-demand price of this GPU type that the store knows"
    )
    hosts: tuple[Name, ...] = Field(default=(), description="names of the nodes, for files that name them")

    @model_validator(mode="after")
    def _named(self) -> NodeGroup:
        if self.hosts and len(self.hosts) != self.nodes:
            raise ValueError(f"hosts: {len(self.hosts)} names for {self.nodes} nodes; name every node, or none")
        if len(set(self.hosts)) < len(self.hosts):
            raise ValueError("hosts: a name appears twice")
        if (self.nvme_gib > 0) != (self.nvme_gb_per_s > 0):
            raise ValueError("nvme_gib, nvme_gb_per_s: give both, or neither")
        return self

    @property
    def num_gpus(self) -> int:
        """Of all nodes."""
        return self.nodes * self.gpus_per_node


class Cluster(Frozen):
    """One or several groups of nodes, numbered group by group.

    ``gb_per_s`` may give the measured bandwidth between nodes, [from][to], in place of the groups' line rates; between
    groups (clusters joined as in Holmes) ``between_groups_gb_per_s`` holds otherwise, default the slower group's.
    """

    groups: tuple[NodeGroup, ...] = Field(min_length=1, max_length=20)
    gb_per_s: tuple[tuple[float, ...], ...] | None = Field(default=None, repr=False)
    between_groups_gb_per_s: Speed | None = None
    between_groups_latency_us: Positive = 50.0

    @model_validator(mode="after")
    def _consistent(self) -> Cluster:
        names = [group.name for group in self.groups]
        if len(set(names)) < len(names):
            raise ValueError("groups: a name appears twice; names must differ")
        hosts = [host for group in self.groups for host in group.hosts]
        if len(set(hosts)) < len(hosts):
            raise ValueError("groups: a host is in two of them")
        if self.num_gpus > MOST_GPUS:
            raise ValueError(f"groups: {self.num_gpus:,} GPUs; at most {MOST_GPUS:,} are planned")
        if self.gb_per_s is not None:
            self._check_matrix(self.gb_per_s)
        return self

    def _check_matrix(self, rows: tuple[tuple[float, ...], ...]) -> None:
        if len(rows) != self.num_nodes or any(len(row) != self.num_nodes for row in rows):
            widths = sorted({len(row) for row in rows})
            shown = widths[0] if len(widths) == 1 else f"{widths[0]} to {widths[-1]}" if widths else 0
            raise ValueError(
                f"gb_per_s: {len(rows)} rows of {shown} numbers for {self.num_nodes} nodes; "
                "give one row and one number per node"
            )
        matrix = np.array(rows, dtype=float)
        np.fill_diagonal(matrix, 1.0)
        wrong = np.argwhere(~(np.isfinite(matrix) & (matrix > 0)))
        if len(wrong):
            i, j = (int(k) for k in wrong[0])
            raise ValueError(f"gb_per_s[{i}][{j}] is {rows[i][j]:g}; links between different nodes carry more than 0")

    @property
    def num_nodes(self) -> int:
        """Of all groups."""
        return sum(group.nodes for group in self.groups)

    @property
    def num_gpus(self) -> int:
        """Of all groups."""
        return sum(group.num_gpus for group in self.groups)

    @property
    def group_of_node(self) -> NDArray[np.int64]:
        """(nodes,) index of each node's group."""
        return np.repeat(np.arange(len(self.groups)), [group.nodes for group in self.groups])

    def node_gb_per_s(self) -> NDArray[np.float64]:
        """(nodes, nodes) what collectives reach between nodes, one way, per node; infinite on the diagonal."""
        of = self.group_of_node
        rates = np.array([group.between_gb_per_s * NIC_SHARE[group.nic] for group in self.groups])
        if self.gb_per_s is not None:
            matrix = np.array(self.gb_per_s, dtype=float)
        else:
            matrix = np.minimum.outer(rates[of], rates[of])
            if self.between_groups_gb_per_s is not None:
                matrix[of[:, None] != of[None, :]] = self.between_groups_gb_per_s
        np.fill_diagonal(matrix, np.inf)
        return matrix

    def link_rates(self, groups: Sequence[int] | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Rates of the links between different nodes of ``groups`` (default: all), and how many links have each.

        As ``node_gb_per_s``, without its matrix where nothing was measured: clusters may have 100,000 nodes.
        """
        members = range(len(self.groups)) if groups is None else groups
        if self.gb_per_s is not None:
            nodes = np.flatnonzero(np.isin(self.group_of_node, list(members)))
            rates = self.node_gb_per_s()[np.ix_(nodes, nodes)]
            return np.unique(rates[np.isfinite(rates)], return_counts=True)
        found: dict[float, int] = {}
        for i in members:
            for j in members:
                one, other = self.groups[i], self.groups[j]
                rate = min(group.between_gb_per_s * NIC_SHARE[group.nic] for group in (one, other))
                if i != j and self.between_groups_gb_per_s is not None:
                    rate = self.between_groups_gb_per_s
                links = one.nodes * (other.nodes - (i == j))
                if links:
                    found[rate] = found.get(rate, 0) + links
        ordered = sorted(found)
        return np.array(ordered), np.array([found[rate] for rate in ordered], dtype=np.int64)

    def typical_rate(self, groups: Sequence[int]) -> float:
        """The median over links between different nodes of ``groups``; of a single node, what its group says."""
        rates, counts = self.link_rates(groups)
        if not len(rates):
            group = self.groups[groups[0]]
            return group.between_gb_per_s * NIC_SHARE[group.nic]
        return float(rates[np.searchsorted(np.cumsum(counts), counts.sum() / 2)])

    def host_names(self) -> tuple[str, ...]:
        """A name for each node: as given, or ``GROUP-0``, ``GROUP-1`` and so on."""
        return tuple(
            name for group in self.groups
            for name in (group.hosts or (f"{group.name}-{i}" for i in range(group.nodes)))
        )  # fmt: skip
