"""How an engine serves one replica of a unit: image and command. Pure.

Flags are those of the versions named here, written ``--flag=value`` so that no value can be taken for a flag.
Units planned from datasheets (``roofline``) or of an engine that nobody recorded run vLLM.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from planner.errors import InvalidInput
from planner.serving.plan import Role
from profiles.types import Layout

PORT = 8000
"""Every replica answers here, whatever its engine."""

OPTIONS_FILE = "/tmp/gpuplan/engine.yaml"  # noqa: S108
"""Where an engine finds its options beyond flags; anyone may write there."""

Options = Mapping[str, Any]

DTYPES: Mapping[str, str] = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
"""What vLLM and SGLang call the precisions that need no quantised weights."""

_QUANTISED = re.compile(r"fp8|fp4|int8|int4|awq|gptq|w8a8|w4a16|gpt-oss", re.IGNORECASE)
"""In the name of a checkpoint whose weights are quantised already."""


@dataclass(frozen=True)
class Run:
    """What one replica serves. ``concurrency`` (requests) and ``max_tokens`` are what the plan counts on; None: any."""

    model: str
    layout: Layout
    role: Role
    max_tokens: int | None
    concurrency: float | None

    @property
    def requests_per_rank(self) -> int:
        """Requests in flight that the plan counts on, for each data-parallel rank."""
        return max(1, math.ceil((self.concurrency or 1.0) / self.layout.dp))


@dataclass(frozen=True)
class Engine:
    """One engine. ``command`` gives the arguments of a process, the program first."""

    name: str
    image: str
    amd_image: str
    command: Callable[[Run], tuple[str, ...]]
    runs_as_any_user: bool
    """Whether its image works without root."""
    options: Callable[[Run], Options] = lambda run: {}  # noqa: ARG005
    """What the engine reads from ``OPTIONS_FILE``, where it needs more than flags."""


def engine_of(layout: Layout) -> Engine:
    """The engine that a unit was planned for.

    Raises
    ------
    InvalidInput
        No command is known for it.
    """
    found = ENGINES.get(layout.engine.lower())
    if found is None:
        raise InvalidInput(
            f"no command is known for engine {layout.engine!r}", field="PLAN",
            fix=f"plan with services.engines among: {', '.join(sorted(set(ENGINES)))}",
        )  # fmt: skip
    return found


def needs_checkpoint(model: str, layout: Layout) -> bool:
    """Whether the engine cannot make the unit's precision from ``model``'s own weights when it loads them."""
    if layout.precision in (*DTYPES, "unknown") or _QUANTISED.search(model):
        return False
    return layout.precision != "fp8" or layout.engine == "trtllm"


def _vllm(run: Run) -> tuple[str, ...]:
    flags = [
        "--host=0.0.0.0",
        f"--port={PORT}",
        f"--tensor-parallel-size={run.layout.tp}",
        *([f"--max-model-len={run.max_tokens}"] if run.max_tokens else []),
        *([f"--max-num-seqs={run.requests_per_rank}"] if run.concurrency else []),
    ]
    return ("vllm", "serve", run.model, *flags, *more_vllm_flags(run))


def more_vllm_flags(run: Run) -> tuple[str, ...]:
    """Flags beside address, tensor parallelism and limits, for which some systems have fields of their own."""
    layout = run.layout
    flags = [
        f"--served-model-name={run.model}",
        f"--pipeline-parallel-size={layout.pp}",
        *([f"--data-parallel-size={layout.dp}"] if layout.dp > 1 else []),
        *(["--enable-expert-parallel"] if layout.ep > 1 else []),
        *_precision(run),
    ]
    if run.role != "unified":
        transfer = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
        flags.append(f"--kv-transfer-config={json.dumps(transfer)}")
    return tuple(flags)


def _sglang(run: Run) -> tuple[str, ...]:
    layout = run.layout
    flags = [
        f"--model-path={run.model}",
        f"--served-model-name={run.model}",
        "--host=0.0.0.0",
        f"--port={PORT}",
        f"--tp-size={layout.tp}",
        f"--pp-size={layout.pp}",
        *([f"--dp-size={layout.dp}"] if layout.dp > 1 else []),
        *([f"--ep-size={layout.ep}"] if layout.ep > 1 else []),
        *_precision(run),
        *([f"--context-length={run.max_tokens}"] if run.max_tokens else []),
        *([f"--max-running-requests={run.requests_per_rank}"] if run.concurrency else []),
    ]
    if run.role != "unified":
        flags += [f"--disaggregation-mode={run.role}", "--disaggregation-transfer-backend=nixl"]
    return ("python3", "-m", "sglang.launch_server", *flags)


def _trtllm(run: Run) -> tuple[str, ...]:
    layout = run.layout
    flags = [
        "--host=0.0.0.0",
        f"--port={PORT}",
        f"--tp_size={layout.tp * layout.dp}",
        f"--pp_size={layout.pp}",
        *([f"--ep_size={layout.ep}"] if layout.ep > 1 else []),
        *([f"--max_seq_len={run.max_tokens}"] if run.max_tokens else []),
        *([f"--max_batch_size={run.requests_per_rank}"] if run.concurrency else []),
        *([f"--extra_llm_api_options={OPTIONS_FILE}"] if _trtllm_options(run) else []),
    ]
    return ("trtllm-serve", "serve", run.model, *flags)


def _trtllm_options(run: Run) -> Options:
    """Data-parallel attention over the ranks of ``tp_size``, and the hand-over of KV caches."""
    options: dict[str, Any] = {"enable_attention_dp": True} if run.layout.dp > 1 else {}
    if run.role == "prefill":
        options["disable_overlap_scheduler"] = True
    if run.role != "unified":
        options["cache_transceiver_config"] = {"backend": "DEFAULT"}
    return options


def _precision(run: Run) -> list[str]:
    """Flags of vLLM and SGLang; none where the checkpoint itself says it."""
    precision = run.layout.precision
    if precision in DTYPES:
        return [f"--dtype={DTYPES[precision]}"]
    if precision == "fp8" and not _QUANTISED.search(run.model):
        return ["--quantization=fp8"]
    return []


VLLM = Engine("vllm", "vllm/vllm-openai:v0.11.0", "rocm/vllm:latest", _vllm, runs_as_any_user=True)
SGLANG = Engine("sglang", "lmsysorg/sglang:v0.5.4", "lmsysorg/sglang:v0.5.4-rocm630-mi30x", _sglang,
                runs_as_any_user=False)  # fmt: skip
TRTLLM = Engine("trtllm", "nvcr.io/nvidia/tensorrt-llm/release:1.1.0", "", _trtllm, runs_as_any_user=False,
                options=_trtllm_options)  # fmt: skip

ENGINES: Mapping[str, Engine] = {
    "vllm": VLLM, "sglang": SGLANG, "trtllm": TRTLLM, "roofline": VLLM, "unknown": VLLM,
}  # fmt: skip
"""By the engine of a layout."""
