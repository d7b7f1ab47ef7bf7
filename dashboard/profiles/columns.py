"""Which columns a list of facts has, by kind: the field, its name with the unit, and what it means."""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """One column of a list: the field of the fact, the heading, and what is said on hover."""

    field: str
    heading: str
    about: str = ""


class Kind(NamedTuple):
    """One kind of facts: its name for people, its columns, and what it can be filtered by."""

    title: str
    columns: tuple[Column, ...]
    filters: tuple[str, ...]
    origin: str
    """Where its numbers are from, in words, before the source of each."""


MEASURED = "measured"
TOLD = "as its source says"

_MODEL, _GPU = Column("model", "Model"), Column("gpu", "GPU")
_PROVIDER, _REGION = Column("provider", "Provider"), Column("region", "Region")
_LAYOUT = (
    Column("tp", "TP", "tensor-parallel degree, GPUs"),
    Column("dp", "DP", "attention data-parallel degree, GPUs"),
    Column("precision", "Precision"),
    Column("engine", "Engine"),
)

KINDS: dict[str, Kind] = {
    "measurements": Kind("Serving measurements", (
        _MODEL, _GPU, *_LAYOUT,
        Column("input_tokens", "Input", "mean prompt, tokens"),
        Column("output_tokens", "Output", "mean answer, tokens"),
        Column("concurrency", "In flight", "requests at once"),
        Column("ttft_ms", "TTFT ms", "mean time to the first token, ms"),
        Column("tpot_ms", "TPOT ms", "mean time per output token after the first, ms"),
        Column("output_tokens_per_s", "Tokens/s", "output tokens per second of one replica"),
        Column("mean_power_w", "Power W", "mean power of all the replica's GPUs, W"),
    ), ("model", "gpu"), MEASURED),
    "training-measurements": Kind("Training steps", (
        _MODEL, _GPU,
        Column("num_gpus", "GPUs", "GPUs of the job"),
        Column("framework", "Framework"),
        Column("tp", "TP", "tensor-parallel degree"),
        Column("pp", "PP", "pipeline-parallel degree"),
        Column("dp", "DP", "data-parallel degree"),
        Column("micro_batch", "Micro-batch", "sequences of one replica that pass at once"),
        Column("global_batch", "Batch", "sequences of a step"),
        Column("sequence_length", "Length", "tokens of a sequence"),
        Column("recompute", "Recompute", "activations that are computed again in the backward pass"),
        Column("step_ms", "Step ms", "time of a step, ms"),
        Column("tokens_per_s_per_gpu", "Tokens/s/GPU", "tokens per second of one GPU"),
    ), ("model", "gpu"), MEASURED),
    "layer-measurements": Kind("Times of one layer", (
        _MODEL, _GPU,
        Column("num_gpus", "GPUs", "GPUs that share the layer"),
        Column("phase", "Phase"),
        Column("size", "Size", "prompt tokens, or requests of a decode batch"),
        Column("ms_per_layer", "ms per layer", "time of one transformer layer, ms"),
    ), ("model", "gpu"), MEASURED),
    "rate-profiles": Kind("Rate profiles", (
        Column("name", "Name"), _MODEL, _GPU,
        Column("num_gpus", "GPUs", "GPUs of a replica"),
        Column("usd_per_hour", "$/h", "price of a replica, $ per hour"),
        Column("slo", "SLO", "the SLO under which it was measured"),
    ), ("model", "gpu"), MEASURED),
    "gpus": Kind("GPUs", (
        Column("name", "GPU"), Column("architecture", "Architecture"),
        Column("memory_gib", "Memory GiB", "of one GPU, GiB"),
        Column("memory_bandwidth_gb_per_s", "Memory GB/s", "bandwidth of the memory, GB/s"),
        Column("bf16_tflops", "bf16 TFLOP/s", "dense bf16 (fp16 where there is no bf16), 10¹² operations per second"),
        Column("fp8_tflops", "fp8 TFLOP/s", "dense fp8, 10¹² operations per second; none where there is no fp8"),
        Column("tdp_w", "TDP W", "most power of the board, W"),
        Column("idle_w", "Idle W", "power with a model loaded and no work, W; an assumption unless its source says so"),
        Column("interconnect", "Link"),
        Column("interconnect_gb_per_s", "Link GB/s", "per GPU, both directions together, GB/s"),
    ), ("gpu",), TOLD),
    "instances": Kind("Instance types", (
        _PROVIDER, Column("name", "Instance"), _GPU,
        Column("num_gpus", "GPUs", "GPUs of one instance"),
        Column("vcpus", "vCPUs", "virtual cores of one instance"),
        Column("memory_gib", "Host GiB", "memory of the host, GiB"),
        Column("interconnect", "Network"),
    ), ("gpu", "provider"), TOLD),
    "prices": Kind("Prices", (
        _PROVIDER, Column("instance_type", "Instance"), _REGION, Column("market", "Market"),
        Column("usd_per_hour", "$/h", "price of one instance, $ per hour"),
    ), ("gpu", "provider"), TOLD),
    "models": Kind("Models", (
        Column("name", "Model"),
        Column("num_parameters", "Parameters", "all weights"),
        Column("num_active_parameters", "Active", "weights used for one token"),
        Column("num_layers", "Layers", "transformer layers"),
        Column("hidden_size", "Hidden", "width of the model"),
        Column("num_kv_heads", "KV heads", "attention heads with keys and values of their own"),
        Column("num_experts", "Experts", "routed experts per layer; 0 for a dense model"),
        Column("max_context_tokens", "Context", "longest prompt and answer together, tokens"),
        Column("native_precision", "Precision"),
    ), ("model",), TOLD),
    "grid": Kind("Carbon of the grid", (
        _PROVIDER, _REGION,
        Column("g_co2_per_kwh", "g CO2/kWh", "average carbon intensity, grams of CO2 per kWh"),
    ), ("provider",), TOLD),
    "collectives": Kind("Collectives", (
        _GPU,
        Column("operation", "Operation"),
        Column("num_gpus", "GPUs", "GPUs that take part"),
        Column("num_nodes", "Nodes", "nodes that they are spread over"),
        Column("num_bytes", "Bytes", "size of the buffer, bytes"),
        Column("time_us", "Time µs", "time of one collective, µs"),
    ), ("gpu",), MEASURED),
    "gemms": Kind("Matrix products", (
        _GPU, Column("precision", "Precision"),
        Column("m", "M", "rows of the result"),
        Column("n", "N", "columns of the result"),
        Column("k", "K", "length of the sums"),
        Column("time_us", "Time µs", "median time of one product, µs"),
        Column("mean_power_w", "Power W", "of the GPU, over products back to back, W"),
    ), ("gpu",), MEASURED),
    "bandwidths": Kind("Memory passes", (
        _GPU, Column("access", "Access"),
        Column("num_bytes", "Bytes", "size of the buffer, bytes"),
        Column("time_us", "Time µs", "median time of one pass, µs"),
        Column("mean_power_w", "Power W", "of the GPU, W"),
    ), ("gpu",), MEASURED),
}  # fmt: skip
"""Every kind that the service lists, as its paths call it."""
