"""A worked request for each planner, for the documentation: the specs of ``examples/`` in short."""

from __future__ import annotations

from typing import Any

SPECS: dict[str, dict[str, Any]] = {
    "serving": {
        "kind": "serving",
        "name": "chat",
        "services": [
            {
                "name": "chat",
                "model": "meta-llama/Llama-3.1-8B-Instruct",
                "slo": {"ttft_ms": 2000, "tpot_ms": 100},
                "workload": {
                    "requests_per_s": 8,
                    "distribution": {
                        "input_tokens": [1, 512, 2048, 8192],
                        "output_tokens": [1, 256, 1024],
                        "fractions": [[0.35, 0.15], [0.25, 0.15], [0.07, 0.03]],
                    },
                },
            }
        ],
    },
    "experts": {
        "kind": "experts",
        "name": "one-layer",
        "topology": {"gpus": 4, "nodes": 2, "slots_per_gpu": 3},
        "workloads": [{"name": "chat", "counts": [[9100, 1200, 800, 450, 3300, 620, 710, 1500]]}],
    },
    "training": {
        "kind": "training",
        "name": "pretrain-8b",
        "model": "meta-llama/Llama-3.1-8B",
        "sequence_length": 8192,
        "global_batch": 128,
        "tokens": 15.0e9,
        "cluster": {"groups": [{"name": "h100", "gpu": "H100", "nodes": 2, "gpus_per_node": 8,
                                "between_gb_per_s": 400, "nic": "infiniband"}]},
    },
    "power": {
        "kind": "power",
        "name": "row",
        "servers": [
            {"name": "dgx-a100", "gpu": "A100-80GB", "num_gpus": 8, "rated_w": 6500,
             "other_w": {"low": 1500, "high": 2400}}
        ],
        "row": {"budget_servers": 40},
        "priorities": [{"name": "low", "max_slowdown_p50": 0.05, "max_slowdown_p99": 0.5},
                       {"name": "high", "max_slowdown_p50": 0.01, "max_slowdown_p99": 0.05}],
        "workloads": [
            {"name": "chat", "server": "dgx-a100", "priority": "low", "share": 1.0,
             "demand": {"kind": "trace", "model": "bigscience/bloom", "tp": 8, "peak_load": 0.5,
                        "generated": {"mean_input_tokens": 1155, "mean_output_tokens": 211, "burstiness": 0.25}}}
        ],
        "promise": {"weeks": 6, "confidence": 0.99, "max_brakes": 0},
    },
}  # fmt: skip

PLAN_REQUESTS: dict[str, Any] = {
    kind: {"summary": f"a {kind} plan", "value": {"kind": kind, "spec": spec, "time_limit_s": 30}}
    for kind, spec in SPECS.items()
}

SIMULATION_REQUESTS: dict[str, Any] = {
    "bursts": {
        "summary": "half an hour of bursty traffic",
        "value": {
            "plan_id": "2d711642b726b04401627ca9fbac32f5",
            "traffic": {"chat": {"arrivals": "gamma", "cv": 3, "duration_s": 1800}},
        },
    }
}

SWEEP_REQUESTS: dict[str, Any] = {
    "growth": {
        "summary": "the same service with more and more traffic",
        "value": {
            "kind": "serving",
            "spec": SPECS["serving"],
            "vary": [{"path": "services[0].workload.requests_per_s", "values": [8, 16, 32]}],
        },
    }
}
