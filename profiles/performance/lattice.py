"""Times of a layout on a lattice of lengths and running requests, made monotone, and read between its nodes.

Physics alone is monotone, but the smooth remainders that rows add to it (``learn``) need not be. On the lattice that
is mended once and for all: longer requests, and more of them, never look faster. Between nodes values are interpolated
linearly (in tokens and requests, not their logarithms): exact for every term that is linear in them, and sums and
orders that hold on the nodes hold between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats
from profiles.performance.datasheet import Datasheet
from profiles.performance.learn import Learned
from profiles.performance.terms import closed_loop, new_load

HALF_OCTAVES = np.sqrt(2.0) ** np.arange(1, 21)
INPUT_TOKENS = np.concatenate([[1.0, 16.0, 48.0, 96.0, 128.0], 128.0 * HALF_OCTAVES])
DECODE_STEPS = np.concatenate([[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 96.0, 128.0], 128.0 * HALF_OCTAVES])
RUNNING = np.concatenate([[1.0, 2.0, 3.0, 4.0], np.round(4.0 * np.sqrt(2.0) ** np.arange(1, 23))])
"""Nodes; longer requests than the last count as that, and no more run at once."""

MOST_ROUNDS, SMALLEST_RISE = 50, 1e-9
"""Of mending a lattice: rounds, and the relative change that ends them."""

BUSIEST = 0.95
"""Share of the time that prompts may take before their queue counts as no longer growing."""

LARGEST_REMAINDER = 3.0
"""Of a logarithm, whatever the rows say."""


@dataclass(frozen=True)
class Lattice:
    """Times in ms [input tokens, decode steps, running requests]."""

    first: Floats
    decode: Floats
    """From the first token to the last."""

    def at(self, input_tokens: Floats, output_tokens: Floats, running: Floats) -> tuple[Floats, Floats]:
        """(time to first token, time per output token) of requests that need not wait to run."""
        steps = np.maximum(output_tokens - 1, 1.0)
        places = [
            _between(nodes, values)
            for nodes, values in ((INPUT_TOKENS, input_tokens), (DECODE_STEPS, steps), (RUNNING, running))
        ]
        (i, up_i), (o, up_o), (n, up_n) = places
        flat = (i * len(DECODE_STEPS) + o) * len(RUNNING) + n
        first, decode = np.zeros_like(up_n), np.zeros_like(up_n)
        tables = self.first.ravel(), self.decode.ravel()
        for high_i, weight_i in ((0, 1 - up_i), (1, up_i)):
            for high_o, weight_o in ((0, 1 - up_o), (1, up_o)):
                corner = flat + (high_i * len(DECODE_STEPS) + high_o) * len(RUNNING)
                weight = weight_i * weight_o
                for high_n, weight_n in ((0, 1 - up_n), (1, up_n)):
                    both = weight * weight_n
                    first += both * tables[0][corner + high_n]
                    decode += both * tables[1][corner + high_n]
        return first, decode / np.minimum(steps, DECODE_STEPS[-1])


def new_lattice(sheet: Datasheet, learned: Learned, *, continuous: bool, corrected: bool) -> Lattice:
    """Times under continuous batching or in static batches; ``corrected`` TTFT where rows were measured that way."""
    axes = INPUT_TOKENS, DECODE_STEPS + 1, RUNNING
    mesh = np.meshgrid(*axes, indexing="ij", sparse=True)
    times = closed_loop(new_load(sheet, *mesh, continuous=continuous), np.exp(learned.log_coefficients))
    logs = [np.log(axis) for axis in axes]
    first = times.first_ms * (_factor(learned.ttft.on_grid(logs)) if corrected else 1.0)
    decode = times.tpot_ms * DECODE_STEPS[:, None] * _factor(learned.tpot.on_grid(logs))
    return Lattice(np.broadcast_to(first, decode.shape).copy(), decode)


def slower(mean: Lattice, prompt_ms: Floats, share: float) -> Lattice:
    """Times that only a ``share`` of requests exceeds by waiting for the prompts of others.

    A station that is busy for a share ρ of the time and serves one prompt after another, in ``prompt_ms`` each, makes a
    ``share`` of them wait longer than ``prompt_ms / (2 (1 − ρ)) · ln(ρ / share)`` (M/D/1 in heavy traffic: Kleinrock,
    "Queueing Systems", volume 2, 1976, section 2.1). Nor can one wait for more prompts than others are there.
    """
    prompt = prompt_ms[:, None, None]
    busy = np.minimum(RUNNING * prompt / (mean.first + mean.decode), BUSIEST)
    tail = prompt / (2 * (1 - busy)) * np.log(np.maximum(busy / share, 1.0))
    most = mean.first[..., :1] + (RUNNING - 1) * prompt
    return monotone(Lattice(np.maximum(mean.first, np.minimum(mean.first + tail, most)), mean.decode))


def monotone(lattice: Lattice) -> Lattice:
    """The least times nowhere shorter than those of ``lattice``, nor than those of fewer and of shorter requests.

    With longer outputs, the first token may come sooner, as prompts arrive more rarely, but the last may not: where it
    would, ``decode`` is raised, which may take a few rounds to be monotone in everything again.
    """
    first, decode = _rising(_rising(lattice.first, 0), 2), lattice.decode
    for _ in range(MOST_ROUNDS):
        decode = _rising(_rising(decode, 0), 2)
        late = _rising(first + decode, 1) - first
        if (late <= decode * (1 + SMALLEST_RISE)).all():
            break
        decode = late
    return Lattice(first, decode)


def _rising(values: Floats, axis: int) -> Floats:
    return np.asarray(np.maximum.accumulate(values, axis=axis))


def _factor(logarithm: Floats) -> Floats:
    return np.asarray(np.exp(np.clip(logarithm, -LARGEST_REMAINDER, LARGEST_REMAINDER)))


def _between(nodes: Floats, values: Floats) -> tuple[np.ndarray, Floats]:
    """Index of the node below, and how far towards the next: (values,) each."""
    inside = np.clip(values, nodes[0], nodes[-1])
    below = np.clip(np.searchsorted(nodes, inside, side="right") - 1, 0, len(nodes) - 2)
    return below, (inside - nodes[below]) / (nodes[below + 1] - nodes[below])
