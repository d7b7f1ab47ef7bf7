"""Measured power as points of a space in which near means alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.performance.answers import Floats
from profiles.performance.datasheet import sustained_tflops
from profiles.performance.memory import weight_precision
from profiles.performance.rows import prompt_tokens
from profiles.types import WEIGHT_BYTES, GpuType, Layout, Measurement, ModelCard

Ints = NDArray[np.int64]

NOWHERE = -1

NOMINAL_PARAMETERS, NOMINAL_LAYERS = 30e9, 60
"""Of a model of which neither the shape nor the name says a size."""

PROMPT_EFFICIENCY = 0.5
"""Share of the peak FLOP/s that prompts reach between decode steps: an assumption, between the 77% of long prompts
alone (Helix's layer times) and the 25% of small chunks of MoE models."""

PROMPT_SHARE_OF_TDP = 1.0
"""What prompts draw where nobody measured it: all there is, as in the peaks measured on A100 (Splitwise; POLCA)."""

UNLIMITED = 0.99
"""Share of TDP from which on an enforced power limit is none."""

MOST_PROMPT_SHARE = 0.8
"""Of the time that measured rows are believed to spend on prompts: beyond it they would say nothing of decoding."""

REPEATS = 0.02
"""Points of one layout whose running requests and context agree within this are repeats: their median counts."""

MOST_POINTS = 1200
"""Points that are learned from; more are thinned evenly, because learning is cubic in them."""

SIZE = re.compile(r"(?<![a-z\d.])(\d+(?:\.\d+)?)b(?![a-z\d])", re.IGNORECASE)
ACTIVE_SIZE = re.compile(r"(?<![a-z\d.])a(\d+(?:\.\d+)?)b(?![a-z\d])", re.IGNORECASE)


@dataclass(frozen=True)
class Replica:
    """What of a layout decides the power of its GPUs."""

    layout: Layout
    gpu: GpuType
    parameters: float
    active_parameters: float
    sparse: bool
    """A mixture of experts."""
    weight_bytes: float
    """Of one weight."""
    flops_per_s: float
    """Dense peak of all its GPUs."""
    num_layers: int

    @property
    def tdp_w(self) -> float:
        """Of all its GPUs."""
        return self.layout.num_gpus * self.gpu.tdp_w

    @property
    def idle_w(self) -> float:
        """Of all its GPUs."""
        return self.layout.num_gpus * self.gpu.idle_w

    @property
    def shape(self) -> Floats:
        """(5,) what stays the same at every load: GPU, weights per GPU, work per token, number of GPUs, MoE or not."""
        gpus = self.layout.num_gpus
        weights_gb = self.parameters * self.weight_bytes / gpus / 1e9
        return np.array(
            [
                np.log(self.gpu.memory_bandwidth_gb_per_s / 5000.0),
                np.log(weights_gb / 40.0),
                np.log(self.active_parameters / 10e9),
                np.log(gpus),
                float(self.sparse) - 0.5,
            ]
        )

    def features(self, running: Floats, context: Floats) -> Floats:
        """(points, 7): log of running requests per GPU and of their context in tokens, then ``shape``."""
        load = np.stack([np.log(running / self.layout.num_gpus), np.log(context / 1000.0)], axis=1)
        return np.concatenate([load, np.broadcast_to(self.shape, (len(load), 5))], axis=1)

    def prompt_share(self, input_tokens: Floats, requests_per_s: Floats) -> Floats:
        """Share of the time spent on prompts: their matrix products (2 FLOPs per weight and token) at half of peak."""
        busy = requests_per_s * input_tokens * 2 * self.active_parameters / (PROMPT_EFFICIENCY * self.flops_per_s)
        return np.clip(busy, 0.0, 1.0)


def new_replica(layout: Layout, card: ModelCard | None, gpu: GpuType) -> Replica:
    """``layout`` as its card says, or as far as the model's name says its size (``Qwen3-30B-A3B``)."""
    precision = weight_precision(layout, card, gpu)
    total, active = sizes_in(layout.model) if card is None else (card.num_parameters, card.num_active_parameters)
    return Replica(
        layout=layout,
        gpu=gpu,
        parameters=total,
        active_parameters=active,
        sparse=active < total if card is None else card.num_experts > 0,
        weight_bytes=WEIGHT_BYTES[precision],
        flops_per_s=layout.num_gpus * sustained_tflops(gpu, precision) * 1e12,
        num_layers=card.num_layers if card else NOMINAL_LAYERS,
    )


def sizes_in(name: str) -> tuple[float, float]:
    """(all, active) parameters that a model's name gives away: ``30B-A3B``, ``8x7B``; nominal where it does not."""
    active = ACTIVE_SIZE.search(name)
    total = SIZE.search(name)
    if total is None:
        return NOMINAL_PARAMETERS, NOMINAL_PARAMETERS
    parameters = float(total[1]) * 1e9
    return parameters, min(float(active[1]) * 1e9, parameters) if active else parameters


@dataclass(frozen=True)
class Points:
    """Loads at which power was measured, and the share of TDP that decoding drew there; (points,) each."""

    features: Floats
    """(points, 7), see ``Replica.features``."""
    place: Ints
    """Code of the point's model and GPU."""
    layout: Ints
    """Code of its layout."""
    log_share: Floats

    def __len__(self) -> int:
        return len(self.log_share)


@dataclass(frozen=True)
class Codes:
    """Numbers that stand for places (model and GPU) and layouts; ``NOWHERE`` for those that were not measured."""

    places: Mapping[tuple[str, str], int]
    layouts: Mapping[Layout, int]

    def place(self, layout: Layout) -> int:
        """Of its model and GPU."""
        return self.places.get((layout.model, layout.gpu), NOWHERE)

    def of(self, layout: Layout) -> int:
        """Of the layout itself."""
        return self.layouts.get(layout, NOWHERE)


def read_points(measured: Iterable[tuple[Replica, Sequence[Measurement]]]) -> tuple[Points, Codes]:
    """Decoding power of every load in ``measured``; repeats count once, by their median."""
    groups: dict[tuple[Layout, int, int], list[tuple[Floats, float]]] = {}
    for replica, measurements in measured:
        for m in measurements:
            load = decoding_load(replica, m)
            if load is not None:
                running, context, share = load
                near = round(np.log(running) / REPEATS), round(np.log(context) / REPEATS)
                feature = replica.features(np.array([running]), np.array([context]))[0]
                groups.setdefault((replica.layout, *near), []).append((feature, float(np.log(share))))
    kept = list(groups.items())[:: -(-len(groups) // MOST_POINTS) or 1]
    codes = Codes(
        places={place: i for i, place in enumerate(dict.fromkeys((at.model, at.gpu) for (at, _, _), _ in kept))},
        layouts={layout: i for i, layout in enumerate(dict.fromkeys(at for (at, _, _), _ in kept))},
    )
    points = Points(
        features=np.array([group[0][0] for _, group in kept]).reshape(len(kept), 7),
        place=np.array([codes.place(at) for (at, _, _), _ in kept], dtype=np.int64),
        layout=np.array([codes.of(at) for (at, _, _), _ in kept], dtype=np.int64),
        log_share=np.array([np.median([share for _, share in group]) for _, group in kept]),
    )
    return points, codes


def decoding_load(replica: Replica, m: Measurement) -> tuple[float, float, float] | None:
    """(requests running, mean context in tokens, share of TDP while decoding) of one measurement; None: it has none.

    A static batch does its prompts first, and what is published as its mean power is that of the tokens that follow
    (in Splitwise's rows a longer prompt never raises it); one without output tokens is a single step at a context.
    Elsewhere prompts are mixed in, at the power of prompts. Rows of GPUs under a power limit say nothing of others.
    """
    tokens_in, tokens_out = prompt_tokens(m), m.output_tokens
    if m.mean_power_w is None or m.concurrency is None or tokens_in is None or is_prompt(m):
        return None
    if m.power_limit_w is not None and m.power_limit_w < UNLIMITED * replica.gpu.tdp_w:
        return None
    share = m.mean_power_w / replica.tdp_w
    if m.load != "static_batch":
        if tokens_out is None:
            return None
        rate = m.requests_per_s or (m.output_tokens_per_s or 0.0) / tokens_out
        prompts = float(replica.prompt_share(np.array(tokens_in), np.array(rate)).clip(max=MOST_PROMPT_SHARE))
        share = (share - prompts * PROMPT_SHARE_OF_TDP) / (1 - prompts)
    floor = replica.gpu.idle_w / replica.gpu.tdp_w
    return max(m.concurrency, 1.0), tokens_in + (tokens_out or 0.0) / 2, max(share, floor)


def is_prompt(m: Measurement) -> bool:
    """Whether ``m`` measured prompts only: their one output token comes from the prompt itself."""
    return m.output_tokens is not None and m.output_tokens <= 1
