"""A worked request for each planner: what the documentation shows, and what the dashboard's pages open with."""

from __future__ import annotations

from typing import Any

SPECS: dict[str, dict[str, Any]] = {
    "serving": {  # examples/chat.yaml
        "kind": "serving",
        "name": "chat",
        "services": [
            {
                "name": "chat",
                "model": "meta-llama/Llama-3.1-8B-Instruct",
                "slo": {"ttft_ms": 2000, "tpot_ms": 100},
                "allow_roofline": True,
                "workload": {
                    "requests_per_s": 8,
                    "distribution": {
                        "input_tokens": [1, 128, 512, 1024, 2048, 4096, 8192],
                        "output_tokens": [1, 64, 256, 512, 1024],
                        "fractions": [
                            [0.060, 0.080, 0.040, 0.010],
                            [0.080, 0.130, 0.060, 0.020],
                            [0.060, 0.110, 0.060, 0.010],
                            [0.040, 0.060, 0.040, 0.010],
                            [0.030, 0.040, 0.010, 0.005],
                            [0.020, 0.020, 0.004, 0.001],
                        ],
                    },
                },
            }
        ],
        "offers": {"providers": ["aws"], "regions": ["us-east-1"]},
    },
    "experts": {  # examples/experts.yaml
        "kind": "experts",
        "name": "two-workloads",
        "topology": {"gpus": 8, "nodes": 2, "slots_per_gpu": 3},
        "workloads": [
            {
                "name": "chat",
                "weight": 2,
                "counts": [
                    [9100, 1200, 800, 450, 3300, 620, 710, 1500, 260, 5400, 980, 330, 1100, 760, 2400, 90],
                    [400, 5200, 640, 7300, 310, 1250, 2600, 880, 1900, 120, 3500, 270, 560, 1480, 990, 3600],
                    [2100, 830, 6400, 150, 1700, 4800, 390, 920, 3100, 610, 240, 2700, 1350, 500, 4200, 1010],
                ],
            },
            {
                "name": "code",
                "counts": [
                    [4200, 2900, 700, 910, 5100, 480, 1600, 2200, 350, 3000, 1400, 620, 900, 1800, 2700, 140],
                    [950, 2400, 1300, 5600, 700, 2100, 4100, 640, 2500, 380, 1900, 520, 830, 2600, 1200, 2300],
                    [3300, 1200, 3900, 420, 2900, 2600, 800, 1700, 2000, 1150, 610, 3400, 980, 720, 2300, 1900],
                ],
            },
        ],
        "curves": True,
    },
    "training": {  # four nodes, of which those of a switch are not neighbours; GB/s between nodes, one way
        "kind": "training",
        "name": "pretrain-8b",
        "model": "meta-llama/Llama-3.1-8B",
        "sequence_length": 8192,
        "global_batch": 128,
        "tokens": 15.0e9,
        "cluster": {
            "groups": [{"name": "h100", "gpu": "H100", "nodes": 4, "gpus_per_node": 8, "between_gb_per_s": 50,
                        "nic": "infiniband"}],
            "gb_per_s": [[0, 12, 45, 12], [12, 0, 12, 45], [45, 12, 0, 12], [12, 45, 12, 0]],
        },
        "choices": {"frameworks": ["megatron-lm"], "pipeline_parallel": [1, 2], "context_parallel": [1],
                    "recompute": ["none", "selective"]},
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

VALIDATION_REQUESTS: dict[str, Any] = {
    "stored": {
        "summary": "how wrong latencies would be on GPU types that nobody measured",
        "value": {"part": "serving", "hold_out": "gpu"},
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
