"""What training frameworks keep in memory: the constants of the memory model, one record per framework.

Nothing here is fitted. A constant follows from a framework's documentation or code, or is an assumption and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from profiles.errors import UnknownName


@dataclass(frozen=True)
class Framework:
    """Bytes that a framework spends where others spend more or less.

    Attributes
    ----------
    gradient_bytes:
        of one parameter, as gradients are summed over micro-batches
    sharded_weight_bytes:
        of one parameter under ZeRO-3, beside the master copy that ``OPTIMIZER_BYTES`` counts
    logit_bytes:
        of one logit at the loss's peak, all copies together
    has_dropout:
        one-byte masks after attention and MLP, as GPT-3's recipe has them
    keeps_scores:
        attention without a flash kernel: s² scores per head stay for the backward pass
    fused_gate:
        one kernel for SiLU and product of a gated MLP: three tensors of its width are kept, else four
    bucket_parameters:
        of the two buckets in which gradients are reduced; 0: in place, in the gradients' own buffer
    fragmentation:
        free pieces that PyTorch's allocator cannot use, as a share of what comes and goes in a step
    """

    gradient_bytes: float
    sharded_weight_bytes: float
    logit_bytes: float
    has_dropout: bool
    keeps_scores: bool
    fused_gate: bool
    bucket_parameters: float
    fragmentation: float


WEIGHT_BYTES = 2.0
"""Of one parameter as matrix products use it: bf16 or fp16."""

OPTIMIZER_BYTES = 12.0
"""Of one parameter: fp32 master copy and Adam's two moments (ZeRO, Rajbhandari et al., 2020, section 3.1: K = 12)."""

FP8_WEIGHT_BYTES = 2.0
"""Of one parameter, beside ``WEIGHT_BYTES``, with fp8 products: an fp8 copy and its transpose (Transformer Engine)."""

REDUCED_GRADIENT_BYTES = 2.0
"""Of one gradient on its way to the shard that sums it: 16 bits."""

LAYERS_IN_TRANSIT = 2
"""Layers whole on a GPU at one moment under ZeRO-3: the one in use and the one fetched ahead (PyTorch FSDP's default;
DeepSpeed's ``stage3_max_live_parameters`` and ``stage3_prefetch_bucket_size`` allow about as much)."""

FRAMEWORKS: Mapping[str, Framework] = MappingProxyType({
    # bf16 with gradients summed in fp32: 6 + 12 / d bytes per parameter (Megatron-LM, docs, "distributed optimizer").
    # Scores are kept, as in the published figures of 2022.
    # Logits: 16-bit, fp32, and the shifted copy that turns into softmax and gradient (vocab_parallel_cross_entropy).
    "megatron-lm": Framework(
        gradient_bytes=4.0, sharded_weight_bytes=2.0, logit_bytes=10.0, has_dropout=True, keeps_scores=True,
        fused_gate=True, bucket_parameters=0.0, fragmentation=0.03,
    ),
    # As megatron-lm, as it is run today: flash attention, no dropout.
    "megatron-core": Framework(
        gradient_bytes=4.0, sharded_weight_bytes=2.0, logit_bytes=10.0, has_dropout=False, keeps_scores=False,
        fused_gate=True, bucket_parameters=0.0, fragmentation=0.03,
    ),
    # 2 + 2 + 12 bytes per parameter (ZeRO, figure 1); ``reduce_bucket_size`` is 5e8 unless set.
    "megatron-deepspeed": Framework(
        gradient_bytes=2.0, sharded_weight_bytes=2.0, logit_bytes=10.0, has_dropout=True, keeps_scores=True,
        fused_gate=True, bucket_parameters=5e8, fragmentation=0.03,
    ),
    # Hugging Face models: fp32 logits, their shifted copy, and the gradient (transformers' causal language model loss).
    "deepspeed": Framework(
        gradient_bytes=2.0, sharded_weight_bytes=2.0, logit_bytes=12.0, has_dropout=False, keeps_scores=False,
        fused_gate=False, bucket_parameters=5e8, fragmentation=0.05,
    ),
    # The fp32 shard is the master copy; its gradient is fp32. llm-foundry's fused loss: 16-bit logits and gradient.
    "fsdp": Framework(
        gradient_bytes=4.0, sharded_weight_bytes=0.0, logit_bytes=4.0, has_dropout=False, keeps_scores=False,
        fused_gate=False, bucket_parameters=0.0, fragmentation=0.05,
    ),
    # As fsdp, but the loss is computed in fp32: logits, log-softmax and gradient beside the 16-bit logits.
    "torchtitan": Framework(
        gradient_bytes=4.0, sharded_weight_bytes=0.0, logit_bytes=10.0, has_dropout=False, keeps_scores=False,
        fused_gate=False, bucket_parameters=0.0, fragmentation=0.05,
    ),
})  # fmt: skip
"""By name. Shares of fragmentation are assumptions: low where large buffers are made once, higher elsewhere."""


def framework_named(name: str) -> Framework:
    """The record of framework ``name``; ``UnknownName`` where there is none."""
    if name not in FRAMEWORKS:
        raise UnknownName("training framework", name, FRAMEWORKS, field="framework")
    return FRAMEWORKS[name]
