"""What is asked of the training planner: a model, what to train it on and for, and which choices may vary."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from planner.training.cluster import Cluster, Positive
from planner.types import Frozen
from profiles.types import Count, Name, Tokens

Recompute = Literal["none", "selective", "full"]
Precision = Literal["bf16", "fp8"]
Offload = Literal["none", "optimizer_cpu", "all_cpu", "optimizer_nvme", "all_nvme"]
Framework = Literal["megatron-lm", "megatron-deepspeed", "fsdp"]
Zero = Annotated[int, Field(ge=0, le=3)]
Counts = tuple[Count, ...]


class Shape(Frozen):
    """A model that is on no card: what its ``config.json`` says. Blank sizes follow the usual rules."""

    num_layers: Annotated[int, Field(ge=1, le=10_000)]
    hidden_size: Annotated[int, Field(ge=8, le=1_000_000)]
    num_attention_heads: Annotated[int, Field(ge=1, le=10_000)]
    num_kv_heads: Annotated[int, Field(ge=1, le=10_000)] | None = Field(default=None, description="default: all heads")
    head_dim: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="default: hidden / heads"
    )
    intermediate_size: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="default: 4 × hidden"
    )
    vocab_size: Annotated[int, Field(ge=1, le=10_000_000)]
    gated_mlp: bool = False
    tied_embeddings: bool = False
    num_experts: Annotated[int, Field(ge=0, le=100_000)] = 0
    experts_per_token: Annotated[int, Field(ge=0, le=100_000)] = 0
    num_shared_experts: Annotated[int, Field(ge=0, le=1_000)] = 0
    moe_intermediate_size: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    num_dense_layers: Annotated[int, Field(ge=0, le=10_000)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> Shape:
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads: {self.num_attention_heads} heads do not divide hidden_size {self.hidden_size}; "
                "correct one of them, or give head_dim"
            )
        if self.num_kv_heads is not None and self.num_attention_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads: {self.num_kv_heads} KV heads do not divide {self.num_attention_heads} attention heads"
            )
        if self.num_experts:
            if not 1 <= self.experts_per_token <= self.num_experts:
                raise ValueError(f"experts_per_token: must lie in 1..{self.num_experts} for {self.num_experts} experts")
            if not self.moe_intermediate_size:
                raise ValueError("moe_intermediate_size: is missing for a model with experts")
            if self.num_dense_layers >= self.num_layers:
                raise ValueError("num_dense_layers: leaves no layer for the experts")
        elif self.experts_per_token or self.num_shared_experts or self.moe_intermediate_size:
            raise ValueError("num_experts: is missing, but other fields speak of experts")
        return self


class Choices(Frozen):
    """Which values may be tried; empty: all that can exist. ``shard``: replicas that share one copy of the states."""

    frameworks: tuple[Framework, ...] = Field(default=("megatron-lm", "megatron-deepspeed", "fsdp"), min_length=1)
    tensor_parallel: Counts = ()
    pipeline_parallel: Counts = ()
    context_parallel: Counts = ()
    expert_parallel: Counts = ()
    micro_batch: Counts = ()
    virtual_stages: Counts = ()
    recompute: tuple[Recompute, ...] = Field(default=("none", "selective", "full"), min_length=1)
    partial_recompute: bool = Field(default=True, description="full recompute of some of a stage's layers too")
    zero: tuple[Zero, ...] = Field(default=(0, 1, 2, 3), min_length=1)
    shard: tuple[Literal["all", "node"], ...] = Field(default=("all", "node"), min_length=1)
    sequence_parallel: tuple[bool, ...] = Field(default=(False, True), min_length=1)
    precision: tuple[Precision, ...] = Field(default=("bf16",), min_length=1)
    offload: tuple[Offload, ...] = Field(default=("none",), min_length=1)


class Failures(Frozen):
    """What goes wrong, and what it takes to go on. Defaults: Llama 3 (2024, section 3.3.4) lost a GPU's worth of work
    once in about 50,000 GPU hours; the others are assumptions.
    """

    mtbf_gpu_hours: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)] = 50_000.0
    restart_s: Annotated[float, Field(ge=0, le=864_000, allow_inf_nan=False)] = 300.0
    storage_gb_per_s: Annotated[float, Field(ge=1e-3, le=1e9, allow_inf_nan=False)] = Field(
        default=20.0, description="to write or read a checkpoint, of the whole cluster"
    )
    blocking_share: Annotated[float, Field(ge=1e-3, le=1, allow_inf_nan=False)] = Field(
        default=1.0, description="of writing a checkpoint that training waits for; asynchronous ones wait less"
    )


class Finetune(Frozen):
    """Fine-tuning on little memory: adapters of low rank, quantised or not, or zeroth-order steps (MeZO)."""

    method: Literal["lora", "qlora", "zeroth_order"]
    rank: Annotated[int, Field(ge=1, le=4096)] = 16


class TrainingSpec(Frozen):
    """A request to the training planner. ``model`` names a card of the store; ``shape`` describes one that has none.

    ``global_batch`` counts sequences. Ranked by ``objective``: time to train, money, or energy.
    """

    kind: Literal["training"] = "training"
    name: Name = "training"
    model: Name
    shape: Shape | None = None
    sequence_length: Tokens
    global_batch: Annotated[int, Field(ge=1, le=10_000_000)]
    tokens: Annotated[float, Field(gt=0, le=1e18, allow_inf_nan=False)] = Field(description="to train on, in total")
    cluster: Cluster
    choices: Choices = Choices()
    finetune: Finetune | None = None
    objective: Literal["time", "money", "energy"] = "time"
    deadline_days: Positive | None = None
    budget_usd: Positive | None = None
    power_limit_w: Positive | None = Field(default=None, description="of all GPUs while training")
    memory_reserve_gib: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = Field(
        default=2.0, description="of each GPU, kept free beyond what the memory model counts"
    )
    failures: Failures = Failures()
    top: Annotated[int, Field(ge=1, le=1000)] = Field(default=20, description="configurations to list")

    @model_validator(mode="after")
    def _consistent(self) -> TrainingSpec:
        if self.tokens < self.sequence_length:
            raise ValueError(f"tokens: {self.tokens:g} are less than one sequence of {self.sequence_length}")
        return self
