"""Latency of one layout as a function of lengths and concurrency."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from profiles.performance.answers import Floats
from profiles.performance.datasheet import Datasheet
from profiles.performance.terms import PROMPT_PRIOR, prompt_terms, shared_prompt_terms, step_terms, tpot

NUM_STEP_TERMS = 7


@dataclass(frozen=True)
class RunningLimit:
    """How many requests run at once: ``slots`` of the engine, and KV memory for ``tokens``.

    A request holds ``input + reserved_output · output`` tokens on average: engines that hand out KV blocks as tokens
    come (vLLM, SGLang) hold half of the output, those that never preempt (TensorRT-LLM's default) reserve all of it.
    """

    tokens: float = np.inf
    slots: float = np.inf
    reserved_output: float = 0.5

    def running(self, input_tokens: Floats, output_tokens: Floats) -> Floats:
        """Most requests of these lengths that run at once; below 1 where not even one fits."""
        return np.minimum(self.slots, self.tokens / (input_tokens + self.reserved_output * output_tokens))


@dataclass(frozen=True)
class Timing:
    """Times of requests in ms and how many of them run at once; arrays of one shape."""

    ttft_ms: Floats
    tpot_ms: Floats
    e2e_ms: Floats
    running: Floats


@dataclass(frozen=True)
class Latency:
    """Coefficients of one layout's terms, with what they multiply."""

    sheet: Datasheet
    step: Floats
    prompt: Floats
    limit: RunningLimit
    static_batch: bool = False
    """All requests start together (so no prompt disturbs a decode step), as in a batch measured by itself."""

    def at(
        self, input_tokens: Floats, output_tokens: Floats, concurrency: Floats, crowd: Floats | None = None
    ) -> Timing:
        """Times with ``concurrency`` requests in flight on average: running, or waiting for those that run.

        Below 1, it is the share of the time that some request is there. ``crowd`` requests (``concurrency`` when left
        out) are there when the request in question is: its batch is larger, prompts arrive at the same rate.
        What does not run waits: with throughput ``running / service``, Little's law makes the wait
        ``(crowd / running − 1) · service``.
        """
        crowd = concurrency if crowd is None else crowd
        fits = np.maximum(self.limit.running(input_tokens, output_tokens), 1.0)
        running = np.minimum(concurrency, fits)
        first, step = self._undisturbed(input_tokens, output_tokens, running)
        each = step
        if not self.static_batch:
            shared = shared_prompt_terms(self.sheet, input_tokens) @ self.step[NUM_STEP_TERMS:]
            each = tpot(step, shared, running, output_tokens, first)
        if crowd is not concurrency:
            running = np.minimum(crowd, fits)
            first, crowded_step = self._undisturbed(input_tokens, output_tokens, running)
            each = each * crowded_step / step
        service = first + (output_tokens - 1) * each
        wait = (crowd / running - 1) * service
        return Timing(first + wait, each, service + wait, running)

    def _undisturbed(self, input_tokens: Floats, output_tokens: Floats, running: Floats) -> tuple[Floats, Floats]:
        """Time of a prompt, and of a decode step that no prompt disturbs."""
        batch = np.maximum(running, 1.0)  # a request is never in a smaller one, however rarely others come
        first = prompt_terms(self.sheet, batch, input_tokens) @ self.prompt
        return first, step_terms(self.sheet, batch, input_tokens, output_tokens) @ self.step[:NUM_STEP_TERMS]

    def continuous(self) -> Latency:
        """The same layout under continuous batching, where prompts arrive one by one.

        What a static batch measured stays: decode steps, and the time of one prompt, which now delays the steps of
        others too. What it cannot show, how much prompts hold each other up, comes from the prior.
        """
        if not self.static_batch:
            return self
        host = self.sheet.num_layers * 1e-5
        alone = self.prompt[:4] + self.prompt[[4, 5, 9, 6]] * [1, 1, 0, 0] + self.prompt[[7, 8, 9, 9]] * [1, 1, 0, 0]
        alone[3] += (self.prompt[6] + self.prompt[9]) * host / (host + self.sheet.link_ms_per_token)
        shared = alone[[1, 2, 3, 3]]
        return replace(
            self,
            step=np.concatenate([self.step[:NUM_STEP_TERMS], shared]),
            prompt=np.concatenate([alone, PROMPT_PRIOR[4:]]),
            static_batch=False,
        )
