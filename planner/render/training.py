"""Training plans as trainers and launchers take them. Pure: plan in, file names and texts out.

What each reads is in ``shared/targets.md``, "Training". Trainers: the best configuration that each can run. Launchers:
the mapping of the best configuration, whatever trains it.
"""

from __future__ import annotations

from collections.abc import Callable

from planner.errors import FailedCheck, InvalidInput
from planner.render.renderer import Renderer, guarded
from planner.render.training_deepspeed import deepspeed
from planner.render.training_launch import openmpi, slurm, torchrun
from planner.render.training_megatron import megatron
from planner.render.training_ranks import world
from planner.render.training_torchtitan import torchtitan
from planner.training.plan import TrainingPlan

Writer = Callable[[TrainingPlan], dict[str, str]]


def _sound(write: Writer) -> Writer:
    """``write``, of plans with degrees that exist only: a plan file may have been changed since it was checked."""

    def render(plan: TrainingPlan) -> dict[str, str]:
        if not plan.ranked:
            raise InvalidInput("ranks no configuration: there is nothing to render", field="PLAN")
        if plan.spec.finetune is not None:
            raise InvalidInput(
                f"is for {plan.spec.finetune.method}: no target trains so from flags alone", field="PLAN",
                fix="take the degrees from the plan into your fine-tuning library",
            )  # fmt: skip
        for found in plan.ranked:
            if world(found) != found.num_gpus:
                raise FailedCheck(
                    f"degrees make {world(found)} ranks on {found.num_gpus} GPUs: the plan is not rendered"
                )
            batch = found.data_parallel * found.micro_batch * found.num_micro_batches
            if batch != plan.spec.global_batch or len(found.stage_layers) != found.pipeline_parallel:
                raise FailedCheck("batches or stages contradict the degrees: the plan is not rendered")
        return write(plan)

    return render


RENDERERS: dict[str, Renderer[TrainingPlan]] = guarded(
    _sound,
    Renderer("training", "megatron", "Megatron-LM: flags, and scripts that start it with torchrun", megatron),
    Renderer("training", "torchtitan", "torchtitan 0.3: flags, and scripts that start it with torchrun", torchtitan),
    Renderer("training", "deepspeed", "Megatron-DeepSpeed: JSON, flags, and scripts that start it", deepspeed),
    Renderer("training", "slurm", "Slurm: batch script and hostfile in the order of ranks", slurm),
    Renderer("training", "openmpi", "Open MPI: rankfile and its mpirun", openmpi),
    Renderer("training", "torchrun", "torchrun: a line per host with its node rank", torchrun),
)
