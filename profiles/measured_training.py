"""Measured facts of training: steps of a model on GPUs, and the collectives that such steps wait for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from profiles.fact import AnyPrecision, Count, MeasuredFact, Milliseconds, Name, Positive, Tokens

Recompute = Literal["none", "selective", "full"]
CpuOffload = Literal["none", "activations", "optimizer", "all"]
Collective = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv"]

SAME_STEP = 0.05
"""Step time and throughput of one row may differ by this much, relative: both are rounded by whoever wrote them."""

_SHAPE = ("num_layers", "hidden_size", "num_attention_heads", "num_kv_heads", "intermediate_size", "vocab_size")


class TrainingMeasurement(MeasuredFact):
    """One measured training step: what ran, how it was spread over GPUs, and its time or throughput.

    ``tp · pp · dp · cp`` GPUs; ``ep`` divides ``tp · dp · cp`` and adds none; ``dp`` counts all replicas of the data.
    The shape of the model is given whole, or left out where ``model`` has a card. A global batch is in sequences of
    ``sequence_length`` tokens.
    """

    model: Name
    gpu: Name
    num_gpus: Count
    gpus_per_node: Count = 8
    framework: Name = Field(description="'megatron-lm', 'megatron-deepspeed', 'deepspeed', 'fsdp', 'torchtitan' …")
    framework_version: str = Field(default="", max_length=100)
    network_gb_per_s: Positive | None = Field(default=None, description="of a node, one way; unknown if None")
    tp: Count = 1
    pp: Count = 1
    dp: Count = 1
    cp: Count = 1
    ep: Count = 1
    virtual_stages: Count = Field(default=1, description="model chunks per pipeline rank")
    micro_batch: Count = Field(description="sequences of one replica that pass at once")
    global_batch: Count = Field(description="sequences of a step")
    sequence_length: Tokens
    precision: AnyPrecision = Field(default="bf16", description="of matrix products")
    recompute: Recompute = "none"
    zero: Annotated[int, Field(ge=0, le=3)] = Field(
        default=0, description="sharded: 1 optimizer states, 2 gradients too, 3 parameters too (FSDP)"
    )
    shard: Count | None = Field(default=None, description="replicas that share one sharded copy; all if None")
    sequence_parallel: bool = False
    cpu_offload: CpuOffload = "none"
    num_layers: Count | None = None
    hidden_size: Count | None = None
    num_attention_heads: Count | None = None
    num_kv_heads: Count | None = None
    intermediate_size: Count | None = None
    vocab_size: Count | None = None
    gated_mlp: bool = Field(default=False, description="three MLP matrices (SwiGLU), not two (GELU)")
    tied_embeddings: bool = Field(default=False, description="logits reuse the input embedding")
    step_ms: Milliseconds | None = None
    tokens_per_s_per_gpu: Positive | None = None

    @property
    def measured_step_ms(self) -> float:
        """Time of a step: as measured, or as the measured throughput gives it."""
        return self.step_ms if self.step_ms is not None else self._step_ms_at(self.tokens_per_s_per_gpu or 0.0)

    @property
    def has_shape(self) -> bool:
        """Whether the row itself says what the model looks like."""
        return self.num_layers is not None

    def _step_ms_at(self, tokens_per_s_per_gpu: float) -> float:
        return 1e3 * self.global_batch * self.sequence_length / (tokens_per_s_per_gpu * self.num_gpus)

    @model_validator(mode="after")
    def _measures_one_step(self) -> TrainingMeasurement:
        if self.tokens_per_s_per_gpu is None:
            if self.step_ms is None:
                raise ValueError("step_ms: nothing is measured; give it or tokens_per_s_per_gpu")
        elif self.step_ms is not None:
            implied_ms = self._step_ms_at(self.tokens_per_s_per_gpu)
            if abs(implied_ms / self.step_ms - 1) > SAME_STEP:
                raise ValueError(
                    f"tokens_per_s_per_gpu: means a step of {implied_ms:.6g} ms, and step_ms says {self.step_ms:.6g}; "
                    "leave out the wrong one"
                )
        return self

    @model_validator(mode="after")
    def _degrees_exist(self) -> TrainingMeasurement:
        world = self.tp * self.pp * self.dp * self.cp
        if world != self.num_gpus:
            raise ValueError(f"num_gpus: tp · pp · dp · cp is {world}, not {self.num_gpus}; correct the wrong one")
        if (self.tp * self.dp * self.cp) % self.ep:
            raise ValueError(f"ep: {self.ep} does not divide tp · dp · cp = {self.tp * self.dp * self.cp}")
        if self.global_batch % (self.dp * self.micro_batch):
            raise ValueError(
                f"global_batch: dp · micro_batch = {self.dp * self.micro_batch} does not divide {self.global_batch}"
            )
        if self.virtual_stages > 1 and self.pp == 1:
            raise ValueError("virtual_stages: there is no pipeline to interleave; give 1, or pp above 1")
        if self.shard is not None and (self.zero == 0 or (self.dp * self.cp) % self.shard):
            raise ValueError(
                f"shard: {self.shard} must divide dp · cp = {self.dp * self.cp}, with zero above 0; "
                "leave it out where all replicas share"
            )
        return self

    @model_validator(mode="after")
    def _shape_is_whole(self) -> TrainingMeasurement:
        given = [name for name in _SHAPE if getattr(self, name) is not None]
        if given and len(given) < len(_SHAPE):
            missing = ", ".join(name for name in _SHAPE if name not in given)
            raise ValueError(f"{given[0]}: the shape lacks {missing}; give all of it, or none and a model with a card")
        if self.num_layers is None or self.num_attention_heads is None or self.num_kv_heads is None:
            return self
        if self.num_layers < self.pp * self.virtual_stages:
            raise ValueError(f"pp: {self.num_layers} layers cannot fill pp · virtual_stages = "
                             f"{self.pp * self.virtual_stages} stages")  # fmt: skip
        if self.num_attention_heads % self.num_kv_heads:
            raise ValueError(f"num_kv_heads: {self.num_kv_heads} does not divide {self.num_attention_heads} heads")
        if self.num_attention_heads % self.tp:
            raise ValueError(f"tp: {self.tp} does not divide {self.num_attention_heads} attention heads")
        return self


class CollectiveMeasurement(MeasuredFact):
    """Time of one collective over ``num_gpus`` GPUs, spread evenly over ``num_nodes`` nodes.

    ``num_bytes`` is what nccl-tests calls size: of the buffer that is reduced, or of the whole that is gathered,
    scattered or exchanged by one GPU.
    """

    gpu: Name
    operation: Collective
    num_gpus: Annotated[int, Field(ge=2, le=1_000_000)]
    num_nodes: Count = 1
    num_bytes: Annotated[int, Field(ge=1, le=2**53)]
    time_us: Positive

    @property
    def bus_bandwidth_gb_per_s(self) -> float:
        """Speed that the slowest link must at least have, by the definition of nccl-tests (its PERFORMANCE.md)."""
        return bus_factor(self.operation, self.num_gpus) * self.num_bytes / self.time_us / 1e3

    @model_validator(mode="after")
    def _spread_evenly(self) -> CollectiveMeasurement:
        if self.num_gpus % self.num_nodes:
            raise ValueError(f"num_nodes: {self.num_gpus} GPUs do not spread evenly over {self.num_nodes} nodes")
        return self


def bus_factor(operation: Collective, num_gpus: int) -> float:
    """Bytes that a link carries per byte of the buffer, in a ring of ``num_gpus`` (nccl-tests, PERFORMANCE.md)."""
    if operation == "send_recv":
        return 1.0
    others = (num_gpus - 1) / num_gpus
    return 2 * others if operation == "all_reduce" else others
