"""Time of one layer's arithmetic on one GPU: matrix products, attention, and what is elementwise.

A product of m tokens with an n × k matrix takes ``2 m n k / (rate · FLOP/s) + share · 2 (m n + m k + n k) / bandwidth``
seconds: arithmetic, and the part of its memory traffic that arithmetic does not hide. The second makes narrow products
slow, as tensor parallelism (small n or k) and small micro-batches (small m) do. A backward pass has twice the products.

Shapes: (N,), or (K, N) for K sets of coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from profiles.performance.answers import Floats
from profiles.training.activations import EXPERT_IMBALANCE
from profiles.training.coefficients import Coefficients
from profiles.training.layouts import PRECISIONS, Layouts
from profiles.training.sizes import Habits, Sizes, Speeds

ELEMENT_BYTES = 2.0
"""Of activations and weights between products: 16 bits."""

FLASH_BACKWARD = 2.5
"""Fused attention's backward pass over its forward pass: five products in place of two (FlashAttention, Dao, 2022)."""

LOGIT_TRAFFIC_BYTES = 24.0
"""Of each logit, forward and backward: written in 16 bits, then 32-bit passes of loss and gradient. An assumption."""

Product = Callable[[Floats, Floats, Floats], Floats]
"""Seconds of products of m × n × k."""


class Layer(NamedTuple):
    """Seconds of one layer and micro-batch. ``attention``, part of ``forward``: what selective recompute repeats."""

    forward: Floats
    attention: Floats
    backward: Floats


def layer_s(layouts: Layouts, sizes: Sizes, speeds: Speeds, habits: Habits, c: Coefficients) -> Layer:
    """Of the average layer: dense, with experts, or the mean of both by their share."""
    tp = layouts.tp.astype(float)
    tokens = layouts.micro_batch * sizes.sequence_length / layouts.cp
    between = np.where(layouts.sequence_parallel, tokens / tp, tokens)
    flop_per_s = speeds.flop_per_s
    is_fp8 = layouts.precision == PRECISIONS.index("fp8")
    if is_fp8.any():
        flop_per_s = np.where(is_fp8, speeds.fp8_flop_per_s * c.fp8_rate, flop_per_s)

    def product(m: Floats, n: Floats, k: Floats) -> Floats:
        return product_s(m, n, k, flop_per_s, speeds.memory, c)

    heads_width = sizes.heads_width / tp
    kv_width = np.maximum(sizes.kv_width / tp, sizes.head_dim)
    products = product(tokens, heads_width + 2 * kv_width, sizes.hidden) + product(tokens, sizes.hidden, heads_width)
    into = sizes.num_mlp_matrices - 1
    width = sizes.mlp_width / tp
    mlp = product(tokens, into * width, sizes.hidden) + product(tokens, sizes.hidden, width)
    inner = tokens * width
    if sizes.moe_share.any():
        experts, expert_inner = _experts(layouts, sizes, tokens, product)
        mlp = mlp + sizes.moe_share * (experts - mlp)
        inner = inner + sizes.moe_share * (expert_inner - inner)
    products = products + mlp
    flash, unfused = _attention(tokens, heads_width, sizes, speeds, c, sizes.num_heads / tp)
    fused = habits.fused_attention > 0
    attention = np.where(fused, flash, unfused)
    moved = elementwise_bytes(between, tokens * (heads_width + 2 * kv_width), inner, sizes)
    moved = moved * c.elementwise / speeds.memory
    host = 1e-6 * c.layer_us
    backward_attention = np.where(fused, FLASH_BACKWARD, 2.0) * attention
    return Layer(
        products + attention + moved + host,
        attention,
        2 * (products + moved + host) + backward_attention,
    )


def logits_s(layouts: Layouts, sizes: Sizes, speeds: Speeds, c: Coefficients) -> Floats:
    """Vocabulary product and loss of one micro-batch, forward and backward, on the last stage."""
    tokens = layouts.micro_batch * sizes.sequence_length / layouts.cp
    vocab = sizes.vocab / layouts.tp
    product = product_s(tokens, vocab, sizes.hidden, speeds.flop_per_s, speeds.memory, c)
    return np.asarray(3 * product + tokens * vocab * LOGIT_TRAFFIC_BYTES * c.elementwise / speeds.memory)


def product_s(m: Floats, n: Floats, k: Floats, flop_per_s: Floats, memory: Floats, c: Coefficients) -> Floats:
    """One product of ``m`` × ``k`` with ``k`` × ``n`` 16-bit elements; ``memory`` in bytes/s."""
    moved = ELEMENT_BYTES * (m * n + m * k + n * k)
    return np.asarray(2 * m * n * k / (flop_per_s * c.product_rate) + c.product_memory * moved / memory)


def elementwise_bytes(between: Floats, attention_inner: Floats, mlp_inner: Floats, sizes: Sizes) -> Floats:
    """Memory traffic of one forward pass, in bytes.

    Ten passes over the residual stream (two norms: 4; two residual additions with bias and dropout: 6), two over
    queries, keys and values, and over the MLP's inside as many as it has matrices.
    """
    passes = 10 * between * sizes.hidden + 2 * attention_inner + sizes.num_mlp_matrices * mlp_inner
    return np.asarray(ELEMENT_BYTES * passes)


def _experts(layouts: Layouts, sizes: Sizes, tokens: Floats, product: Product) -> tuple[Floats, Floats]:
    """Products of one layer's experts, and the elements inside them. Experts are whole; TP divides the tokens.

    A GPU holds 1 / ep of the experts and works on the tokens that ep GPUs send to them, the busiest on more than its
    share; shared experts are split by TP as a dense MLP is.
    """
    into = sizes.num_mlp_matrices - 1
    imbalance = np.where(layouts.ep > 1, EXPERT_IMBALANCE, 1.0)
    routed = tokens / layouts.tp * sizes.experts_per_token * imbalance
    held = np.maximum(sizes.num_experts / layouts.ep, 1.0)
    of_each = routed / held
    width = sizes.expert_width
    routed_s = product(of_each, into * width, sizes.hidden) + product(of_each, sizes.hidden, width)
    shared_width = sizes.num_shared_experts * width / layouts.tp
    shared_s = product(tokens, into * shared_width, sizes.hidden) + product(tokens, sizes.hidden, shared_width)
    router_s = product(tokens, sizes.num_experts, sizes.hidden)
    return held * routed_s + shared_s + router_s, routed * width + tokens * shared_width


def _attention(
    tokens: Floats, width: Floats, sizes: Sizes, speeds: Speeds, c: Coefficients, num_heads: Floats
) -> tuple[Floats, Floats]:
    """Forward pass, fused (the causal half only) and not fused (all scores, written and read)."""
    pairs = tokens * sizes.sequence_length
    flop = 4 * pairs * width
    flash = 0.5 * flop / (speeds.flop_per_s * c.flash_rate)
    unfused = flop / (speeds.flop_per_s * c.product_rate) + pairs * num_heads * c.score_bytes / speeds.memory
    return np.asarray(flash), np.asarray(unfused)
