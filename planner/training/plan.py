"""The answer of the training planner."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from planner.training.cluster import MOST_GPUS, NotNegative, Positive
from planner.training.spec import Framework, Offload, Precision, Recompute, Shape, TrainingSpec
from planner.types import Frozen, Plan
from profiles.types import Count

Sharding = Literal["none", "zero1", "zero2", "zero3"]


class Parts(Frozen):
    """Where the time of a step goes, in milliseconds; what overlaps with computing is not counted twice."""

    compute_ms: float
    recompute_ms: float
    tensor_parallel_ms: float
    context_parallel_ms: float
    expert_parallel_ms: float
    bubble_ms: float
    pipeline_ms: float = Field(description="messages between stages that computing waits for")
    data_parallel_ms: float = Field(description="of gradients and parameters, what computing does not hide")
    optimizer_ms: float
    logits_ms: float
    offload_ms: float
    host_ms: float = Field(default=0.0, description="once per step")


class Memory(Frozen):
    """What the fullest GPU holds, in GiB."""

    parameters_gib: float
    gradients_gib: float
    optimizer_gib: float
    activations_gib: float
    logits_gib: float
    buffers_gib: float
    worst_stage: str = Field(description="first, middle or last")
    host_gib_per_gpu: NotNegative = 0.0
    nvme_gib_per_gpu: NotNegative = 0.0


class Configuration(Frozen):
    """One way to train. GPUs = tensor · pipeline · context · data parallel.

    ``step_error`` is the ``r`` of a 90% interval [step / (1 + r), step · (1 + r)]. ``shard_replicas`` of the data ·
    context parallel replicas share one copy of what ``sharding`` shards. ``stage_layers``: layers of each stage. Money,
    days and energy include failures and checkpoints (``goodput_fraction``).
    """

    framework: Framework
    tensor_parallel: Count
    pipeline_parallel: Count
    data_parallel: Count
    context_parallel: Count
    expert_parallel: Count
    micro_batch: Count
    num_micro_batches: Annotated[int, Field(ge=1)]
    virtual_stages: Count
    stage_layers: tuple[Count, ...] = Field(min_length=1)
    recompute: Recompute
    recomputed_layers: int = Field(ge=0, description="of a stage, where recompute is full")
    sharding: Sharding
    shard_replicas: Count
    sequence_parallel: bool
    precision: Precision
    offload: Offload
    groups: tuple[str, ...] = Field(description="node groups in use")
    num_nodes: Count
    num_gpus: Annotated[int, Field(ge=1, le=2 * MOST_GPUS)]
    step_ms: Positive
    step_error: NotNegative
    origin: str
    mfu: float
    memory_gib_per_gpu: float
    memory_limit_gib: float
    tokens_per_s: float
    goodput_fraction: float
    days_to_train: float
    usd_to_train: float | None = Field(description="None where nobody knows a price")
    kwh: float
    power_w: float = Field(description="of all GPUs while training, on average")
    parts: Parts
    memory: Memory
    binds: str = Field(description="what takes the most time beside computing, or what keeps a better one out")


class Place(Frozen):
    """Where a rank runs."""

    rank: int
    node: str
    gpu: int


class MappingGain(Frozen):
    """Communication of a step in seconds: ranks in order, the best of the simple orders, ours, and no mapping below."""

    default_seconds: float
    best_simple_seconds: float
    seconds: float
    bound_seconds: float
    method: str


class Goodput(Frozen):
    """Training with failures, for the best configuration."""

    mtbf_hours: float = Field(description="of all GPUs together")
    checkpoint_gib: float
    checkpoint_s: float
    checkpoint_every_s: float = Field(description="the interval that loses least")
    restart_s: float
    goodput_fraction: float


class Elastic(Frozen):
    """The best configuration with another number of nodes, and what it costs to switch to it."""

    num_nodes: Count
    num_gpus: Count
    configuration: Configuration | None = Field(description="may leave nodes idle that divide badly")
    on_typical_links: bool = Field(default=False, description="of nodes that nobody measured")
    switch_s: NotNegative = Field(description="write, reshard and read a universal checkpoint, and restart")
    why_not: str = ""


class Fix(Frozen):
    """A single change that would make a model fit that fits nowhere."""

    change: str
    memory_gib: float


class TrainingPlan(Plan):
    """Ranked configurations, the mapping of the best, and what they mean in time, money and energy.

    ``objective`` is days, USD or kWh of the best; ``bound`` the same of the best configuration by the model, before
    mapping on uneven links. ``optimal``: every configuration was evaluated.
    """

    kind: Literal["training"] = "training"
    spec: TrainingSpec
    ranked: tuple[Configuration, ...] = ()
    num_evaluated: int = 0
    num_fitting: int = 0
    pareto: tuple[Configuration, ...] = Field(default=(), description="none is faster and cheaper (or of less energy)")
    mapping: tuple[Place, ...] = Field(default=(), repr=False, description="of the best configuration")
    mapping_gain: MappingGain | None = None
    goodput: Goodput | None = None
    elastic: tuple[Elastic, ...] = ()
    fixes: tuple[Fix, ...] = Field(default=(), description="where nothing fits")
    num_parameters: float | None = None
    shape: Shape | None = Field(default=None, description="the model that was planned for, from its card or the spec")
    explanation: tuple[str, ...] = ()
