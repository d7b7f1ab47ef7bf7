"""Expert placements as engines load them. Pure: plan in, file names and texts out.

What each engine reads is in ``shared/targets.md``, "Expert placement". Slots are numbered GPU by GPU in all of them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

from planner.errors import FailedCheck
from planner.experts.check import malformed
from planner.experts.plan import ExpertsPlan
from planner.render.experts_heatmap import heatmap
from planner.render.renderer import Renderer, guarded

Writer = Callable[[ExpertsPlan], dict[str, str]]


def sglang(plan: ExpertsPlan) -> dict[str, str]:
    """``--init-expert-location``: one row per layer of the model, dense ones included, and no other key."""
    rows = ",\n".join(json.dumps(row) for row in plan.physical_to_logical_map)
    topology = plan.spec.topology
    redundant = topology.num_slots - plan.spec.shape[1]
    flags = [
        "--init-expert-location expert_location.json",
        f"--ep-size {topology.gpus}",
        f"--ep-num-redundant-experts {redundant}",
        "--ep-dispatch-algorithm static",
    ]
    return {
        "expert_location.json": f'{{"physical_to_logical_map": [\n{rows}\n]}}\n',
        "sglang_flags.txt": " \\\n  ".join(flags) + "\n",
    }


def tensorrt_llm(plan: ExpertsPlan) -> dict[str, str]:
    """``moe_load_balancer.yaml``: layers with experts only; no updates at run time, so the placement stays."""
    lines = [f"num_slots: {plan.spec.topology.num_slots}", "layer_updates_per_iter: 0", "initial_global_assignments:"]
    lines += [f"  {layer}: {json.dumps(row)}" for layer, row in _moe_rows(plan)]
    return {"moe_load_balancer.yaml": "\n".join(lines) + "\n"}


def vllm(plan: ExpertsPlan) -> dict[str, str]:
    """Flags that give vLLM's own balancer as many redundant experts: it takes no initial map."""
    config = {
        "window_size": 1000,
        "step_interval": 3000,
        "num_redundant_experts": plan.spec.topology.num_slots - plan.spec.shape[1],
    }
    flags = ["--enable-expert-parallel", "--enable-eplb", f"--eplb-config '{json.dumps(config)}'"]
    return {"vllm_flags.txt": " \\\n  ".join(flags) + "\n"}


def vllm_ascend(plan: ExpertsPlan) -> dict[str, str]:
    """``expert_map_path``: layers with experts only, each device's experts in order."""
    size = plan.spec.topology.slots_per_gpu
    layers = [
        {
            "layer_id": index,
            "device_count": plan.spec.topology.gpus,
            "device_list": [
                {"device_id": gpu, "device_expert": list(row[gpu * size : (gpu + 1) * size])}
                for gpu in range(plan.spec.topology.gpus)
            ],
        }
        for index, (_, row) in enumerate(_moe_rows(plan))
    ]
    return {"expert_map.json": json.dumps({"moe_layer_count": len(layers), "layer_list": layers}) + "\n"}


def plain_csv(plan: ExpertsPlan) -> dict[str, str]:
    """One row per slot of the layers with experts, with the share of its expert's tokens that it serves."""
    topology = plan.spec.topology
    weights = {(d.layer, slot): share for d in plan.dispatch for slot, share in zip(d.slot, d.share, strict=True)}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["layer", "slot", "gpu", "node", "expert", "copies", "share"])
    for layer, row in _moe_rows(plan):
        for slot, expert in enumerate(row):
            gpu = slot // topology.slots_per_gpu
            copies = plan.logical_replica_count[layer][expert]
            share = weights.get((layer, slot), 1 / copies)
            table.writerow([layer, slot, gpu, gpu * topology.nodes // topology.gpus, expert, copies, f"{share:.9g}"])
    return {"placement.csv": text.getvalue()}


def dispatch(plan: ExpertsPlan) -> dict[str, str]:
    """Share per copy of the replicated experts, for engines whose dispatch takes weights; even if none were made."""
    made = {d.layer: zip(d.slot, d.expert, d.share, strict=True) for d in plan.dispatch}
    layers = []
    for layer, row in _moe_rows(plan):
        copies = plan.logical_replica_count[layer]
        even = ((slot, expert, 1 / copies[expert]) for slot, expert in enumerate(row) if copies[expert] > 1)
        replicas = [{"slot": slot, "expert": e, "share": share} for slot, e, share in made.get(layer, even)]
        layers.append({"layer": layer, "replicas": replicas})
    return {"dispatch.json": json.dumps({"layers": layers}) + "\n"}


def _moe_rows(plan: ExpertsPlan) -> list[tuple[int, tuple[int, ...]]]:
    dense = set(plan.dense_layers)
    return [(layer, row) for layer, row in enumerate(plan.physical_to_logical_map) if layer not in dense]


def _sound(write: Writer) -> Writer:
    """``write``, of maps that an engine can load only: a plan file may have been changed since it was checked."""

    def render(plan: ExpertsPlan) -> dict[str, str]:
        wrong = malformed(plan)
        if wrong:
            raise FailedCheck(f"the plan fails its check and is not rendered: {wrong[0].constraint}: {wrong[0].detail}")
        return write(plan)

    return render


RENDERERS: dict[str, Renderer[ExpertsPlan]] = guarded(
    _sound,
    Renderer("experts", "sglang", "SGLang: initial expert location and its flags", sglang),
    Renderer("experts", "tensorrt-llm", "TensorRT-LLM: moe_load_balancer.yaml, static", tensorrt_llm),
    Renderer("experts", "vllm", "vLLM: flags of its own balancer (it takes no initial map)", vllm),
    Renderer("experts", "vllm-ascend", "vllm-ascend: expert map", vllm_ascend),
    Renderer("experts", "csv", "one row per slot, for spreadsheets and scripts", plain_csv),
    Renderer("experts", "dispatch", "share of tokens per copy", dispatch),
    Renderer("experts", "heatmap", "load of every GPU and layer, before and after, as one HTML page", heatmap),
)
