"""Whole spaces of very large models: how long `plan training` takes to evaluate and rank every configuration.

python benchmarks/training_space.py
"""

import resource
import time

from planner.training.solve import solve
from planner.training.spec import TrainingSpec
from planner.types import SolveOptions
from profiles import catalogue
from profiles.types import Facts

CASES = (("gpt-1008b", 384, 3072), ("gpt-529.6b", 641, 5128), ("gpt-174.6b", 128, 1536))


def main() -> None:
    built_in = catalogue.load()
    facts = Facts(**{name: getattr(built_in, name) for name in type(built_in).model_fields})
    print(f"{'model':12} {'GPUs':>6} {'evaluated':>10} {'fit':>9} {'CPU s':>6} {'per s':>10}  best")
    for model, nodes, batch in CASES:
        cluster = {"groups": [{"gpu": "A100-80GB", "nodes": nodes, "gpus_per_node": 8, "between_gb_per_s": 200}]}
        spec = TrainingSpec.model_validate(
            {"model": model, "sequence_length": 2048, "global_batch": batch, "tokens": 450e9, "cluster": cluster}
        )
        began = time.process_time()
        plan = solve(spec, facts, SolveOptions(time_limit_s=600))
        took = time.process_time() - began
        best = plan.ranked[0]
        degrees = (
            f"TP {best.tensor_parallel} PP {best.pipeline_parallel} CP {best.context_parallel} DP {best.data_parallel}"
        )
        print(
            f"{model:12} {nodes * 8:6,} {plan.num_evaluated:10,} {plan.num_fitting:9,} {took:6.2f} "
            f"{plan.num_evaluated / took:10,.0f}  {degrees} on {best.num_gpus:,}: "
            f"{best.step_ms / 1e3:.1f} s, {best.mfu:.1%} MFU"
        )
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"most memory of the process: {peak_mib:,.0f} MiB")


if __name__ == "__main__":
    main()
