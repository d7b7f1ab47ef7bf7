"""The links that ranks are mapped onto: what every GPU can send to every other, and which of them share a node."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from planner.errors import InvalidInput
from planner.program import Floats, Ints

MOST_GPUS = 4096
"""Of one mapping: the matrices of more would take over 1 GB."""


@dataclass(frozen=True, eq=False)
class Fabric:
    """G GPUs on N nodes.

    Attributes
    ----------
    gb_per_s:
        (G, G) one way, from row to column, for one message on its own; the diagonal is not looked at
    node:
        (G,) number of each GPU's node, 0 to N − 1
    num_nics:
        of a node: so many messages to or from other nodes run at full speed at once, more share it
    speed:
        (G,) how fast each GPU computes, relative to whatever the stage times are given for; default: all 1
    """

    gb_per_s: Floats
    node: Ints
    num_nics: int = 1
    speed: Floats = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        object.__setattr__(self, "gb_per_s", np.asarray(self.gb_per_s, dtype=float))
        object.__setattr__(self, "node", np.asarray(self.node))
        speed = np.asarray(self.speed, dtype=float)
        object.__setattr__(self, "speed", speed if speed.size else np.ones(self.num_gpus))
        self._check_nodes()
        _check_rates(self.gb_per_s, self.num_gpus, "GPU")
        if self.num_nics < 1:
            raise InvalidInput(f"{self.num_nics} NICs per node", field="num_nics", fix="give 1 or more")
        if self.speed.shape != self.node.shape or not (np.isfinite(self.speed) & (self.speed > 0)).all():
            raise InvalidInput(
                "speeds must be positive, one per GPU", field="speed", fix=f"give {self.num_gpus} speeds"
            )

    def _check_nodes(self) -> None:
        if self.node.ndim != 1 or not self.node.size or not np.issubdtype(self.node.dtype, np.integer):
            raise InvalidInput("nodes must be whole numbers, one per GPU", field="node", fix="number the nodes from 0")
        if self.num_gpus > MOST_GPUS:
            raise InvalidInput(
                f"{self.num_gpus} GPUs; at most {MOST_GPUS} are mapped", field="node", fix="map a part of the cluster"
            )
        if self.node.min() < 0 or len(np.unique(self.node)) != self.node.max() + 1:
            raise InvalidInput(
                "node numbers leave gaps or are negative", field="node", fix="number the nodes 0, 1, 2 and so on"
            )

    @property
    def num_gpus(self) -> int:
        """G."""
        return len(self.node)

    @property
    def num_nodes(self) -> int:
        """N."""
        return int(self.node.max()) + 1

    @property
    def seconds_per_gb(self) -> Floats:
        """(G, G) the inverse; 0 on the diagonal."""
        with np.errstate(divide="ignore"):
            inverse = 1.0 / self.gb_per_s
        np.fill_diagonal(inverse, 0.0)
        return inverse


def fabric_of_nodes(
    node_gb_per_s: Floats, gpus_per_node: int | Ints, within_gb_per_s: float | Floats, *, num_nics: int = 1,
    speed: Floats | None = None,
) -> Fabric:  # fmt: skip
    """GPUs numbered node by node, from a matrix (N, N) between nodes and what each GPU sends inside its node.

    ``gpus_per_node``, ``within_gb_per_s`` and ``speed`` (of a node's GPUs) are one for all or (N,). Raises
    ``InvalidInput`` where the matrix is not square, or a link between two nodes is not positive and finite.
    """
    between = np.array(node_gb_per_s, dtype=float)
    _check_rates(between, len(between) if between.ndim else 0, "node")
    num_nodes = len(between)
    counts = _per_node(gpus_per_node, num_nodes, "gpus_per_node").astype(np.int64)
    within = _per_node(within_gb_per_s, num_nodes, "within_gb_per_s")
    np.fill_diagonal(between, within)
    node = np.repeat(np.arange(num_nodes), counts)
    speeds = np.empty(0) if speed is None else _per_node(speed, num_nodes, "speed")[node]
    return Fabric(between[np.ix_(node, node)], node, num_nics, speeds)


def _per_node(value: float | Ints | Floats, num_nodes: int, name: str) -> Floats:
    values = np.asarray(value, dtype=float)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != num_nodes):
        raise InvalidInput(f"{values.size} values for {num_nodes} nodes", field=name, fix="give one, or one per node")
    if not (np.isfinite(values) & (values > 0)).all():
        raise InvalidInput("must be positive and finite", field=name, fix="correct the values")
    return np.broadcast_to(values, num_nodes)


def _check_rates(matrix: Floats, size: int, what: str) -> None:
    if matrix.ndim != 2 or matrix.shape != (size, size) or not size:
        raise InvalidInput(
            f"the matrix is {' × '.join(map(str, matrix.shape)) or 'a single number'} for {size} {what}s",
            field="gb_per_s", fix=f"give one row and one column per {what}",
        )  # fmt: skip
    wrong = ~(np.isfinite(matrix) & (matrix > 0))
    np.fill_diagonal(wrong, False)
    if wrong.any():
        i, j = (int(k) for k in np.argwhere(wrong)[0])
        raise InvalidInput(
            f"{what} {i} sends {matrix[i, j]:g} GB/s to {what} {j}", field=f"gb_per_s[{i}][{j}]",
            fix="every link between two of them needs a positive, finite rate",
        )  # fmt: skip
