"""A decoder of a given shape with random weights: prefill and decode steps over batch × context.

Plain torch, one GPU, nothing downloaded: RMSNorm, no rotary embedding (its time is below a percent), grouped-query
attention by ``scaled_dot_product_attention``, a SwiGLU MLP or a mixture of experts (top-k of a random router, experts
one after another, as a simple engine does), and the output head for the last token of each request. On CUDA a dense
model's step is captured as a CUDA graph, as serving engines do; a mixture's routing cannot be.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from profiles.errors import InvalidInput, UnknownName
from profiles.measure.stopwatch import Step, Stopwatch

ELEMENT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_CATALOGUE = Path(__file__).parents[1] / "catalogue" / "models.csv"


@dataclass(frozen=True)
class Shape:
    """What a decoder's cost depends on: the fields of ``profiles.types.ModelCard`` of the same names."""

    name: str
    num_layers: int
    hidden_size: int
    num_attention_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    num_experts: int = 0
    experts_per_token: int = 0
    num_shared_experts: int = 0
    moe_intermediate_size: int = 0
    num_dense_layers: int = 0
    kv_latent_dim: int = 0
    sliding_window: int = 0

    def __post_init__(self) -> None:
        if self.kv_latent_dim or self.sliding_window:
            kind = "latent attention" if self.kv_latent_dim else "sliding windows"
            raise InvalidInput(f"has {kind}, which this decoder does not", field=f"model {self.name}",
                               fix="measure it with its own engine: gpuplan profiles measure endpoint")  # fmt: skip
        if self.num_attention_heads % self.num_kv_heads:
            raise InvalidInput("num_kv_heads does not divide num_attention_heads", field=f"model {self.name}")

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> Shape:
        """The shape among the fields of a model card, given as text or numbers."""
        known = {field.name for field in fields(cls)} & card.keys()
        return cls(name=str(card["name"]), **{name: int(card[name] or 0) for name in known - {"name"}})

    @classmethod
    def named(cls, name: str) -> Shape:
        """The shape of a model of the built-in catalogue; ``UnknownName`` where it is not there."""
        with _CATALOGUE.open(encoding="utf-8", newline="") as text:
            cards = {row["name"]: row for row in csv.DictReader(text)}
        for card in cards.values():
            if name.lower() in {spelling.lower() for spelling in (card["name"], *card["aliases"].split(";"))}:
                return cls.of(card)
        raise UnknownName("model", name, cards, field="--model")

    def mlp_widths(self, layer: int) -> tuple[int, int]:
        """(experts, width of one) of a layer's MLP; a dense layer is one expert that every token takes."""
        if self.num_experts and layer >= self.num_dense_layers:
            return self.num_experts, self.moe_intermediate_size or self.intermediate_size
        return 1, self.intermediate_size

    def weights(self) -> int:
        """Numbers in all weights that are allocated: layers and the output head."""
        attention = self.hidden_size * self.head_dim * 2 * (self.num_attention_heads + self.num_kv_heads)
        total = self.vocab_size * self.hidden_size + self.num_layers * attention
        for layer in range(self.num_layers):
            experts, width = self.mlp_widths(layer)
            shared = self.num_shared_experts if experts > 1 else 0
            total += (experts + shared) * 3 * self.hidden_size * width
        return total

    def cache(self, batch: int, context: int) -> int:
        """Numbers in the KV cache of ``batch`` requests of ``context`` tokens."""
        return self.num_layers * 2 * batch * context * self.num_kv_heads * self.head_dim


def points(batches: tuple[int, ...], contexts: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """Prefill and decode at every batch × context."""
    for context in contexts:
        for batch in batches:
            for phase in ("prefill", "decode"):
                yield {"phase": phase, "batch": batch, "context": context}


class Decoder:
    """A decoder of ``shape`` with random weights on the device of ``watch``.

    Raises ``InvalidInput`` before allocating anything where the weights do not fit.
    """

    def __init__(self, shape: Shape, precision: str, watch: Stopwatch) -> None:
        self.shape, self._watch, self._bytes = shape, watch, ELEMENT_BYTES[precision]
        needed, free = shape.weights() * self._bytes, watch.free_bytes()
        if needed > 0.9 * free:
            raise InvalidInput(
                f"{shape.name} at {precision} needs {needed / 2**30:.1f} GiB for weights, "
                f"{free / 2**30:.1f} GiB are free",
                field="--model",
                fix="choose a smaller model",
            )
        self._options: dict[str, Any] = {"device": watch.device, "dtype": _TYPES[precision]}
        width = shape.head_dim
        self._qkv = [
            self._weight((shape.num_attention_heads + 2 * shape.num_kv_heads) * width, shape.hidden_size)
            for _ in range(shape.num_layers)
        ]
        self._out = [
            self._weight(shape.hidden_size, shape.num_attention_heads * width) for _ in range(shape.num_layers)
        ]
        self._mlps = [self._mlp_weights(layer) for layer in range(shape.num_layers)]
        self._head = self._weight(shape.vocab_size, shape.hidden_size)

    def measure(self, point: dict[str, Any]) -> dict[str, float]:
        """Time (µs) and power of one step. Raises ``MemoryError`` before allocating what does not fit."""
        batch, context, prefill = point["batch"], point["context"], point["phase"] == "prefill"
        tokens = batch * context if prefill else batch
        activations = tokens * (6 * self.shape.hidden_size + 4 * self.shape.intermediate_size)
        needed = self._bytes * (activations + (0 if prefill else self.shape.cache(batch, context)))
        if needed > 0.9 * self._watch.free_bytes():
            raise MemoryError(f"needs {needed / 2**30:.1f} GiB, {self._watch.free_bytes() / 2**30:.1f} GiB are free")
        with torch.inference_mode():
            return self._watch.measure(self._step(batch, context, prefill)).as_json()

    def _step(self, batch: int, context: int, prefill: bool) -> Step:
        shape = self.shape
        hidden = torch.randn(batch, context if prefill else 1, shape.hidden_size, **self._options)
        caches: list[torch.Tensor | None] = [None] * shape.num_layers
        if not prefill:
            size = (2, batch, shape.num_kv_heads, context, shape.head_dim)
            caches = [torch.randn(size, **self._options) for _ in range(shape.num_layers)]

        def step() -> torch.Tensor:
            x = hidden
            for layer in range(shape.num_layers):
                x = x + self._attention(layer, _normed(x), caches[layer])
                x = x + self._mlp(layer, _normed(x))
            return functional.linear(_normed(x[:, -1]), self._head)

        return _as_graph(step) if self._watch.device.type == "cuda" and not shape.num_experts else step

    def _attention(self, layer: int, x: torch.Tensor, cache: torch.Tensor | None) -> torch.Tensor:
        shape, (batch, length, _) = self.shape, x.shape
        heads = functional.linear(x, self._qkv[layer]).view(batch, length, -1, shape.head_dim).transpose(1, 2)
        q, k, v = heads.split((shape.num_attention_heads, shape.num_kv_heads, shape.num_kv_heads), dim=1)
        if cache is not None:
            cache[0, :, :, -1:], cache[1, :, :, -1:] = k, v  # the newest of ``context`` tokens
            k, v = cache[0], cache[1]
        groups = shape.num_attention_heads > shape.num_kv_heads
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=cache is None, enable_gqa=groups)
        return functional.linear(seen.transpose(1, 2).reshape(batch, length, -1), self._out[layer])

    def _mlp(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        router, experts, shared = self._mlps[layer]
        if router is None:
            return _swiglu(x, *experts[0])
        flat = x.reshape(-1, x.shape[-1])
        gates, chosen = functional.linear(flat, router).softmax(dim=-1).topk(self.shape.experts_per_token, dim=-1)
        mixed = torch.zeros_like(flat)
        for index, expert in enumerate(experts):
            token, rank = (chosen == index).nonzero(as_tuple=True)
            if len(token):
                mixed.index_add_(0, token, _swiglu(flat[token], *expert) * gates[token, rank, None])
        for expert in shared:
            mixed += _swiglu(flat, *expert)
        return mixed.view_as(x)

    def _mlp_weights(self, layer: int) -> tuple[torch.Tensor | None, list[Any], list[Any]]:
        num_experts, width = self.shape.mlp_widths(layer)
        hidden = self.shape.hidden_size

        def expert() -> tuple[torch.Tensor, torch.Tensor]:
            return self._weight(2 * width, hidden), self._weight(hidden, width)

        if num_experts == 1:
            return None, [expert()], []
        shared = [expert() for _ in range(self.shape.num_shared_experts)]
        return self._weight(num_experts, hidden), [expert() for _ in range(num_experts)], shared

    def _weight(self, rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, **self._options).mul_(columns**-0.5)


def _normed(x: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(x, x.shape[-1:])


def _swiglu(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    gate, value = functional.linear(x, up).chunk(2, dim=-1)
    return functional.linear(functional.silu(gate) * value, down)


def _as_graph(step: Step) -> Step:
    """``step`` captured as a CUDA graph: one launch instead of hundreds."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def replay(held: Step = step) -> None:  # noqa: ARG001  keeps alive the tensors that the graph reads
        graph.replay()

    return replay
