"""What one step of an engine costs: the layer below latencies, for all who replay or split what a replica does.

Continuous batching runs one *iteration* after another. Each decodes one token of every running request and, in the
room that is left of its token budget, takes chunks of waiting prompts along (Agrawal et al., "Sarathi-Serve", OSDI
2024). Queueing, crowding and percentiles are not in here: they follow from replaying iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats
from profiles.types import Layout


@dataclass(frozen=True)
class Iteration:
    """Cost of one iteration of one replica of ``layout``.

    With ``n`` requests decoding at a total context of ``c`` tokens, and a chunk of ``m`` prompt tokens of a request of
    which ``d`` tokens were done before, an iteration takes

        ``decode_ms[n] + kv_ms_per_token · c + m · prompt_ms_per_token + m · (2 d + m) · prompt_ms_per_token2`` ms

    (the sum of the squares' differences, so that chunks of a prompt add up to the whole) and draws
    ``decode_w[n]`` while decoding and ``prompt_w`` while working on prompts.
    """

    layout: Layout
    decode_ms: Floats
    """[most running + 1] by number of decoding requests; the first is what an iteration of prompts alone takes besides
    their tokens: a pass over the weights."""
    kv_ms_per_token: float
    """Reading one token of context, averaged over the layers (a sliding window reads less of a long context)."""
    prompt_ms_per_token: float
    prompt_ms_per_token2: float
    prompt_overhead_ms: float
    """Added once to the time to first token, without keeping the engine busy: tokenising, scheduling, sending."""
    kv_tokens: float
    """Tokens of KV cache that fit at once; inf where nothing is known of memory."""
    reserved_output: float
    """Share of a request's output that the engine reserves when it admits it."""
    kv_bytes_per_token: float
    """Of one request's cache over all layers and GPUs, each value counted once: what a transfer has to move."""
    idle_w: float
    prompt_w: float
    decode_w: Floats
    """[most running + 1], all GPUs of the replica together; NaN where the GPU is not known."""
    relative_error: float
    """Of these times: half-width of a 90% interval, as of a prediction in the middle of what was measured."""

    @property
    def most_running(self) -> int:
        """Requests that run at once at most."""
        return len(self.decode_ms) - 1

    def prompt_ms(self, tokens: Floats) -> Floats:
        """Time that prompts of these lengths keep the engine busy, alone."""
        return np.asarray(tokens * (self.prompt_ms_per_token + tokens * self.prompt_ms_per_token2))
