"""The bytes of activations against what PyTorch's autograd really keeps; skipped where torch is not installed."""

from __future__ import annotations

import pytest

from profiles.training.activations import activations
from profiles.training.frameworks import framework_named
from profiles.training.layouts import one_layout
from profiles.training.shape import Transformer
from profiles.training.stages import stages_of

torch = pytest.importorskip("torch", reason="torch is not installed")

BATCH, TOKENS = 2, 256
STATISTICS = 1.005
"""Norms keep a mean and a deviation per token, attention a logarithm per head: too small for the model to count."""


def kept_by_autograd(shape: Transformer) -> int:
    """Bytes of the tensors that the backward pass of one bf16 layer needs, parameters left out."""
    functional = torch.nn.functional
    hidden, inside, head_dim = shape.hidden_size, shape.intermediate_size, shape.head_dim
    heads, kv_heads = shape.num_attention_heads * head_dim, shape.num_kv_heads * head_dim
    widths = {
        "query": (hidden, heads), "key": (hidden, kv_heads), "value": (hidden, kv_heads), "output": (heads, hidden),
        "gate": (hidden, inside), "up": (hidden, inside), "down": (inside, hidden),
    }  # fmt: skip
    layer = torch.nn.ModuleDict({name: torch.nn.Linear(*width, bias=False) for name, width in widths.items()})
    norms = torch.nn.ModuleList([torch.nn.LayerNorm(hidden), torch.nn.LayerNorm(hidden)])
    layer.bfloat16(), norms.bfloat16()
    parameters = {p.untyped_storage().data_ptr() for p in (*layer.parameters(), *norms.parameters())}
    sizes: dict[int, int] = {}

    def keep(tensor):  # type: ignore[no-untyped-def]
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    def in_heads(tensor):  # type: ignore[no-untyped-def]
        return tensor.view(BATCH, TOKENS, -1, head_dim).transpose(1, 2)

    x = torch.randn(BATCH, TOKENS, hidden, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = norms[0](x)
        query, key, value = (in_heads(layer[name](y)) for name in ("query", "key", "value"))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=heads != kv_heads)
        x = x + layer["output"](mixed.transpose(1, 2).reshape(BATCH, TOKENS, -1))
        y = norms[1](x)
        gate = functional.silu(layer["gate"](y)) if shape.gated_mlp else None
        z = functional.gelu(layer["up"](y)) if gate is None else gate * layer["up"](y)
        result = x + layer["down"](z)
    assert result.shape == x.shape
    return sum(sizes.values())


@pytest.mark.parametrize(
    "shape",
    [
        Transformer(1, 512, 8, 8, 64, 2048, 1000, gated_mlp=False),
        Transformer(1, 512, 8, 2, 64, 1792, 1000),
        Transformer(1, 512, 16, 4, 64, 1024, 1000),
    ],
    ids=["gpt", "gated, grouped queries", "heads wider than hidden"],
)
def test_autograd_keeps_what_the_model_counts(shape: Transformer) -> None:
    layout = one_layout(micro_batch=BATCH, global_batch=BATCH, num_layers=1)
    kept = activations(shape, layout, stages_of(shape, layout), TOKENS, framework_named("fsdp")).kept[0, 0]
    beside_layers = 4 * shape.hidden_size * BATCH * TOKENS
    assert kept - beside_layers <= kept_by_autograd(shape) <= STATISTICS * (kept - beside_layers)
