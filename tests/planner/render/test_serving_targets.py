"""Targets of serving plans beside Kubernetes: what they read says the plan, and names stay names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from typer.testing import CliRunner

from planner.cli import app
from planner.errors import FailedCheck, InvalidInput, UnknownName
from planner.render.serving import RENDERERS
from planner.render.serving_aibrix import ENDPOINT
from planner.render.serving_shell import shell_lines
from planner.render.serving_units import units
from planner.render.targets import render_plan
from planner.serving.plan import ServingPlan
from planner.types import Check
from profiles.catalogue import load
from profiles.ingest.aibrix import read
from profiles.ingest.format import Options
from profiles.names import KnownNames
from tests.planner.render.serving_plans import EVIL, MODEL, SPLIT, names, plan, route, unit

TWO = plan(unit(unit="chat/one"), unit(unit="chat/two", market="spot", replicas=1))


def documents(made: ServingPlan, target: str) -> list[dict[str, Any]]:
    files = render_plan(made, target)
    return [one for text in files.values() for one in yaml.safe_load_all(text)]


# Every target


@pytest.mark.parametrize("target", RENDERERS)
def test_equal_plans_give_equal_files(target: str) -> None:
    again = ServingPlan.model_validate_json(TWO.model_dump_json())
    assert render_plan(TWO, target) == render_plan(again, target)
    assert all(text.endswith("\n") and "\r" not in text for text in render_plan(TWO, target).values())


@pytest.mark.parametrize("target", RENDERERS)
@pytest.mark.parametrize("name", EVIL)
def test_files_stay_in_their_folder_whatever_things_are_called(target: str, name: str, tmp_path: Path) -> None:
    made = plan(unit(unit=name), name=name, service=name)
    for file, text in render_plan(made, target).items():
        assert (tmp_path / file).parent == tmp_path
        assert file.isascii()
        assert not file.startswith((".", "-"))
        for document in yaml.safe_load_all(text):
            assert isinstance(document, dict)


@pytest.mark.parametrize("target", RENDERERS)
def test_what_cannot_be_run_is_refused(target: str) -> None:
    refusals = {
        "rents nothing": plan().model_copy(update={"allocation": ()}),
        "what would run is not known": plan(unit(layout=None, engine="as given")),
        "spans 2 instances": plan(unit(tp=16), gpus_per_instance=8),
        "no command is known for engine": plan(unit(engine="tgi")),
        "does not run on MI300X": plan(unit(gpu="MI300X", engine="trtllm")),
        "is infeasible": plan().model_copy(update={"outcome": "infeasible"}),
    }
    for words, made in refusals.items():
        with pytest.raises(InvalidInput, match=words):
            render_plan(made, target)
    with pytest.raises(FailedCheck, match="failed its check"):
        render_plan(plan().model_copy(update={"check": Check(passed=False)}), target)


@pytest.mark.parametrize("target", RENDERERS)
def test_the_command_writes_the_files(target: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(TWO.model_dump_json(), encoding="utf-8")
    result = CliRunner().invoke(
        app, ["render", str(path), "--target", target, "--out", str(tmp_path / "out"), "--json"]
    )
    assert result.exit_code == 0, result.output
    files = render_plan(TWO, target)
    assert json.loads(result.stdout)["files"] == [str(tmp_path / "out" / name) for name in files]
    assert {name: (tmp_path / "out" / name).read_text(encoding="utf-8") for name in files} == files


def test_an_unknown_target_lists_all() -> None:
    with pytest.raises(UnknownName) as raised:
        render_plan(plan(), "kubernets")
    assert all(target in str(raised.value) for target in RENDERERS)


# Lines of shell


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("model", EVIL)
def test_a_shell_starts_the_very_command(shell: str, model: str, tmp_path: Path) -> None:
    if model.startswith("-"):
        model = f"m{model}"
    (made,) = units(plan(model=model))
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\nprintf '%s\\0' vllm \"$@\"\n")
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run([shell, "-c", "\n".join(shell_lines(made))], capture_output=True, check=True, cwd=tmp_path,
                         env={"PATH": path, "HOME": "/nowhere"})  # fmt: skip
    assert tuple(ran.stdout.decode().split("\0")[:-1]) == made.command
    assert [child.name for child in tmp_path.iterdir()] == ["vllm"]


def test_a_shell_writes_the_options_first(tmp_path: Path) -> None:
    (made,) = units(plan(unit(engine="trtllm", dp=2), gpus_per_instance=2))
    *before, last = shell_lines(made)
    folder = tmp_path / "options"
    subprocess.run(["sh", "-c", " && ".join(before).replace("/tmp/gpuplan", str(folder))], check=True)  # noqa: S108
    assert yaml.safe_load((folder / "engine.yaml").read_text()) == made.options
    assert "--extra_llm_api_options=" in last


@pytest.mark.parametrize("target", ["skypilot", "dstack"])
def test_halves_that_could_not_reach_each_other_are_refused(target: str) -> None:
    whole = plan(unit(unit="chat/read", role="prefill"), unit(unit="chat/decode", role="decode"), routing=())
    with pytest.raises(InvalidInput, match="could not reach"):
        render_plan(whole, target)


# SkyPilot and dstack (their own validators read the files in test_serving_validators.py)


def test_skypilot_falls_back_from_spot() -> None:
    one, two = documents(TWO, "skypilot")
    assert one["resources"]["use_spot"] is False
    assert two["resources"]["use_spot"] is True
    assert one["service"]["replica_policy"] == {"min_replicas": 3, "max_replicas": 3}
    assert two["service"]["replica_policy"]["dynamic_ondemand_fallback"] is True


def test_skypilot_refuses_plans_that_share_instances() -> None:
    with pytest.raises(InvalidInput, match="take 2 of the 8 GPUs"):
        render_plan(plan(unit(tp=2), gpus_per_instance=8), "skypilot")
    with pytest.raises(InvalidInput, match="has no cloud 'basement'"):
        render_plan(plan(unit(provider="basement")), "skypilot")


def test_dstack_shares_instances_as_planned() -> None:
    made = plan(unit(tp=2, gpu="A100-80GB", replicas=5), gpus_per_instance=8)
    fleet, service = documents(made, "dstack")
    assert (fleet["nodes"], fleet["blocks"]) == (2, 8)
    assert fleet["resources"]["gpu"] == {"name": "A100", "memory": "80GB", "count": 8}
    assert service["fleets"] == [fleet["name"]]
    assert service["resources"]["gpu"]["count"] == 2
    assert fleet["instance_types"] == ["p5.4xlarge"]


def test_dstack_is_not_told_names_that_only_skypilot_has() -> None:
    fleet = documents(plan(unit(provider="runpod", instance_type="1x_H100_SECURE", region="US")), "dstack")[0]
    assert not {"instance_types", "regions"} & fleet.keys()
    with pytest.raises(InvalidInput, match="has no backend"):
        render_plan(plan(unit(provider="basement")), "dstack")


# production-stack


def test_production_stack_values_say_the_units() -> None:
    made = plan(unit(unit="u", tp=2, pp=2, precision="fp8", market="spot"), gpus_per_instance=8)
    (values,) = documents(made, "production-stack")
    (model,) = values["servingEngineSpec"]["modelSpec"]
    assert model["modelURL"] == MODEL
    assert (model["replicaCount"], model["requestGPU"], model["requestGPUType"]) == (3, 4, "nvidia.com/gpu")
    assert model["vllmConfig"] == {
        "tensorParallelSize": 2,
        "maxModelLen": 1200,
        "maxNumSeqs": 41,
        "enablePrefixCaching": True,
        "extraArgs": [f"--served-model-name={MODEL}", "--pipeline-parallel-size=2", "--quantization=fp8"],
    }
    keys = [{one["key"] for one in term["matchExpressions"]} for term in model["nodeSelectorTerms"]]
    assert len(keys) == 2  # Karpenter's spot nodes, or those of an EKS node group
    assert all("node.kubernetes.io/instance-type" in found for found in keys)


def test_production_stack_takes_what_its_templates_can() -> None:
    for made, words in (
        (plan(unit(engine="sglang")), "runs vLLM"),
        (SPLIT, "one phase"),
        (plan(model="{{ .Values.x }}"), "template"),
        (plan(model="a$(b)"), "template"),
    ):
        with pytest.raises(InvalidInput, match=words):
            render_plan(made, "production-stack")


@settings(deadline=None, max_examples=40)
@given(names, names, names)
def test_no_text_of_production_stack_values_is_a_template(spec: str, service: str, name: str) -> None:
    made = plan(unit(unit=name, instance_type=name), name=spec, service=service)
    text = render_plan(made, "production-stack")["values.yaml"]
    assert "{{" not in text
    assert "$(" not in text


# llm-d


def test_llm_d_serves_whole_requests_by_decode_and_split_ones_by_a_pair() -> None:
    files = {name: yaml.safe_load(text) for name, text in render_plan(SPLIT, "llm-d").items()}
    made = {found.row.unit: found for found in units(SPLIT)}
    assert set(files) == {f"{made[name].id}.values.yaml" for name in ("chat/whole", "chat/decode")}
    whole = files[f"{made['chat/whole'].id}.values.yaml"]
    pair = files[f"{made['chat/decode'].id}.values.yaml"]
    assert whole["prefill"] == {"create": False}
    assert (whole["decode"]["replicas"], pair["decode"]["replicas"], pair["prefill"]["replicas"]) == (3, 1, 3)
    assert pair["decode"]["parallelism"] == {"tensor": 2, "data": 1}
    assert pair["prefill"]["acceleratorTypes"] == {
        "labelKey": "nvidia.com/gpu.product", "labelValues": ["NVIDIA-H100-80GB-HBM3"],
    }  # fmt: skip
    assert any("kv-transfer" in flag for flag in pair["prefill"]["containers"][0]["args"])


def test_llm_d_refuses_units_that_hand_over_with_several() -> None:
    rows = (unit(unit="read", role="prefill"), unit(unit="one", role="decode"), unit(unit="two", role="decode"))
    routes = (route("read", decode_unit="one", fraction=0.5), route("read", decode_unit="two", fraction=0.5))
    with pytest.raises(InvalidInput, match="with several units"):
        render_plan(plan(*rows, routing=routes), "llm-d")


# Dynamo


def test_dynamo_keeps_split_units_behind_a_frontend_of_their_own() -> None:
    graphs = documents(SPLIT, "dynamo")
    assert {graph["apiVersion"] for graph in graphs} == {"nvidia.com/v1beta1"}
    kinds = [{one["name"]: one["type"] for one in graph["spec"]["components"]} for graph in graphs]
    by_unit = {found.row.unit: found.id for found in units(SPLIT)}
    assert kinds == [
        {"frontend": "frontend", by_unit["chat/whole"]: "worker"},
        {"frontend": "frontend", by_unit["chat/read"]: "prefill", by_unit["chat/decode"]: "decode"},
    ]


@pytest.mark.parametrize(
    ("engine", "model_flag"), [("vllm", "--model"), ("sglang", "--model-path"), ("trtllm", "--model")]
)
def test_dynamo_workers_say_the_unit(engine: str, model_flag: str) -> None:
    made = plan(unit(engine=engine, tp=2, ep=2), gpus_per_instance=8)
    (graph,) = documents(made, "dynamo")
    _, worker = graph["spec"]["components"]
    pod = worker["podTemplate"]["spec"]
    (main,) = pod["containers"]
    assert main["name"] == "main"
    assert main["command"] == ["python3", "-m", f"dynamo.{engine}"]
    assert main["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert f"{model_flag}={MODEL}" in main["args"]
    assert all(word.startswith("--") for word in main["args"])
    assert not {"--host=0.0.0.0", "--port=8000"} & set(main["args"])
    assert pod["nodeSelector"]["node.kubernetes.io/instance-type"] == "p5.4xlarge"


def test_dynamo_refers_to_no_object_that_is_not_there() -> None:
    rows = [unit(unit=role, role=role, engine="trtllm", dp=2) for role in ("prefill", "decode")]
    routing = (route("prefill", decode_unit="decode"),)
    for graph in documents(plan(*rows, routing=routing, gpus_per_instance=2), "dynamo"):
        assert "configMap" not in json.dumps(graph)
        for worker in graph["spec"]["components"][1:]:
            (flag,) = [
                word
                for word in worker["podTemplate"]["spec"]["containers"][0]["args"]
                if word.startswith("--override-engine-args=")
            ]
            assert json.loads(flag.partition("=")[2])["enable_attention_dp"] is True


def test_dynamo_hands_caches_over_within_one_engine() -> None:
    rows = (unit(unit="read", role="prefill"), unit(unit="decode", role="decode", engine="sglang"))
    with pytest.raises(InvalidInput, match="between sglang and vllm"):
        render_plan(plan(*rows, routing=()), "dynamo")
    with pytest.raises(InvalidInput, match="do not run on MI300X"):
        render_plan(plan(unit(gpu="MI300X")), "dynamo")


# AIBrix

POD_AUTOSCALER = {
    "scaleTargetRef": dict, "minReplicas": int, "maxReplicas": int, "scalingStrategy": str, "metricsSources": list,
}  # fmt: skip
METRIC = {"metricSourceType", "protocolType", "endpoint", "path", "targetMetric", "targetValue"}
"""AIBrix publishes no validator: these are the fields that its v1alpha1 has, by hand."""


def test_aibrix_scales_each_deployment_up_to_the_plan() -> None:
    found = documents(TWO, "aibrix")
    scaled = {one["metadata"]["name"]: one for one in found if one.get("kind") == "Deployment"}
    autoscalers = [one for one in found if one.get("kind") == "PodAutoscaler"]
    assert {one["spec"]["scaleTargetRef"]["name"] for one in autoscalers} == scaled.keys()
    for one in autoscalers:
        spec = one["spec"]
        assert one["apiVersion"] == "autoscaling.aibrix.ai/v1alpha1"
        assert {key: type(value) for key, value in spec.items()} == POD_AUTOSCALER
        deployment = scaled[spec["scaleTargetRef"]["name"]]
        assert spec["maxReplicas"] == deployment["spec"]["replicas"]
        (source,) = spec["metricsSources"]
        assert set(source) == METRIC
        assert source["path"] == f"/metrics/replicas/spec/{deployment['metadata']['name']}"
        for labelled in (deployment, deployment["spec"]["template"]):
            assert "model.aibrix.ai/name" in labelled["metadata"]["labels"]
        assert "model.aibrix.ai/name" not in deployment["spec"]["selector"]["matchLabels"]


@given(names)
def test_aibrix_says_whom_its_autoscalers_follow(spec: str) -> None:
    made = plan(name=spec)
    text = next(text for name, text in render_plan(made, "aibrix").items() if name == f"{units(made)[0].id}.yaml")
    assert (
        f"# Put the address of `gpuplan serve --metrics-host HOST --metrics-port PORT` in place of {ENDPOINT}" in text
    )
    *_, autoscaler = yaml.safe_load_all(text)
    (source,) = autoscaler["spec"]["metricsSources"]
    assert source["endpoint"] == ENDPOINT
    *before, service, deployment = source["path"].split("/")
    assert (before, unquote(service), deployment) == (["", "metrics", "replicas"], spec, units(made)[0].id)


def test_aibrix_profiles_are_read_back(tmp_path: Path) -> None:
    """By our own reader of AIBrix's profiles, which real ones taught."""
    sizes = [((1, 100), (1, 50), 9.0), ((1, 100), (50, 90), 5.0), ((100, 400), (1, 50), 3.0)]
    routes = tuple(route("u", input_tokens=i, output_tokens=o, requests_per_s_per_replica=rate) for i, o, rate in sizes)
    made = plan(unit(unit="u"), routing=routes)
    buckets = [
        {"input_tokens": i, "output_tokens": o, "requests_per_s": 1.0}
        for i, o in [*((i, o) for i, o, _ in sizes), ((100, 400), (50, 90))]
    ]
    service = made.spec.services[0]
    workload = type(service.workload).model_validate({"buckets": buckets})
    spec = made.spec.model_copy(update={"services": (service.model_copy(update={"workload": workload}),)})
    files = render_plan(made.model_copy(update={"spec": spec}), "aibrix")
    (name,) = [name for name in files if name.endswith(".profile.json")]
    (tmp_path / name).write_text(files[name])
    facts = load()
    known = KnownNames.of(facts)
    (profile,) = read(tmp_path / name, known, Options(model=MODEL, gpu="H100")).batch.rate_profiles
    assert profile.input_tokens == (100, 400)
    assert profile.output_tokens == (50, 90)
    assert profile.requests_per_s == ((9.0, 5.0), (3.0, 0.0))
    assert profile.usd_per_hour == 4.0
    assert profile.slo == "ttft ≤ 2 s"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl reads YAML as Kubernetes does")
@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names, names)
def test_kubectl_reads_what_aibrix_gets(tmp_path: Path, spec: str, service: str) -> None:
    made = plan(name=spec, service=service)
    text = next(text for name, text in render_plan(made, "aibrix").items() if name == f"{units(made)[0].id}.yaml")
    (tmp_path / "objects.yaml").write_text(text, encoding="utf-8")
    command = ["kubectl", "label", "--local", "-f", str(tmp_path / "objects.yaml"), "read=yes", "-o", "name"]
    subprocess.run(command, check=True, capture_output=True)
