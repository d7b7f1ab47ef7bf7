"""Kubernetes objects say the plan, pass the API's own schema, and hold any name as nothing but a name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given, settings

from planner.errors import FailedCheck, InvalidInput
from planner.render.serving_kubernetes import MANAGER, NAME_LABEL, UNIT_ANNOTATION, escaped, objects
from planner.render.serving_names import dns_name, label_value
from planner.render.serving_nodes import PRODUCTS
from planner.render.targets import render_plan
from planner.serving.plan import ServingPlan
from profiles.catalogue import load
from tests.planner.render.serving_plans import EVIL, MODEL, SPLIT, names, plan, route, unit

DNS_LABEL = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def rendered(made: ServingPlan) -> list[dict[str, Any]]:
    files = render_plan(made, "kubernetes")
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*\.yaml", name) for name in files)
    return [document for text in files.values() for document in yaml.safe_load_all(text)]


def the(kind: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    (one,) = [document for document in found if document["kind"] == kind]
    return one


def container(document: dict[str, Any]) -> dict[str, Any]:
    (one,) = document["spec"]["template"]["spec"]["containers"]
    return dict(one)


def expanded(word: str) -> str:
    """What Kubernetes makes of a word of a command where no variable is set (third_party/forked/golang/expansion)."""
    out, at = [], 0
    while at < len(word):
        two = word[at : at + 2]
        if two == "$$":
            out.append("$")
            at += 2
        elif two == "$(" and ")" in word[at:]:
            raise AssertionError(f"{word!r} refers to a variable")
        else:
            out.append(word[at])
            at += 1
    return "".join(out)


def command(document: dict[str, Any]) -> list[str]:
    one = container(document)
    return [expanded(word) for word in [*one["command"], *one["args"]]]


# What is said


def test_a_deployment_says_the_unit() -> None:
    made = plan(unit(tp=2, pp=2, replicas=3, precision="fp8", market="spot"), gpus_per_instance=8)
    deployment = the("Deployment", rendered(made))
    spec, pod = deployment["spec"], deployment["spec"]["template"]["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    assert container(deployment)["resources"] == {"limits": {"nvidia.com/gpu": "4"}}
    assert pod["nodeSelector"] == {
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "node.kubernetes.io/instance-type": "p5.4xlarge",
        "topology.kubernetes.io/region": "us-east-1",
    }
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [term["matchExpressions"][0]["values"] for term in terms] == [["spot"], ["SPOT"]]
    words = command(deployment)
    assert words[:3] == ["vllm", "serve", MODEL]
    assert {
        "--tensor-parallel-size=2", "--pipeline-parallel-size=2", "--quantization=fp8", "--max-model-len=1200",
        "--max-num-seqs=41", f"--served-model-name={MODEL}",
    } <= set(words)  # fmt: skip


def test_units_not_on_spot_keep_off_spot_nodes() -> None:
    pod = the("Deployment", rendered(plan()))["spec"]["template"]["spec"]
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {one["operator"] for one in term["matchExpressions"]} == {"NotIn"}
    elsewhere = the("Deployment", rendered(plan(unit(provider="lambda"))))["spec"]["template"]["spec"]
    assert "affinity" not in elsewhere


def test_pods_get_no_more_rights_than_they_need() -> None:
    deployment = the("Deployment", rendered(plan()))
    pod, one = deployment["spec"]["template"]["spec"], container(deployment)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert one["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    (token,) = [variable for variable in one["env"] if variable["name"] == "HF_TOKEN"]
    assert token["valueFrom"] == {"secretKeyRef": {"name": "hf-token", "key": "token", "optional": True}}
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= one.keys()


def test_services_budgets_and_pods_meet_by_labels() -> None:
    for document in rendered(SPLIT):
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == MANAGER
        assert labels[NAME_LABEL] == "spec"
        assert labels["gpuplan.dev/service"] == "chat"
    deployments = [d for d in rendered(SPLIT) if d["kind"] == "Deployment"]
    assert len(deployments) == 3
    for document in rendered(SPLIT):
        selector = document.get("spec", {}).get("selector", {})
        selector = selector.get("matchLabels", selector)
        if selector:
            chosen = [
                d["metadata"]["annotations"][UNIT_ANNOTATION]
                for d in deployments
                if selector.items() <= d["spec"]["template"]["metadata"]["labels"].items()
            ]
            assert chosen == [document["metadata"]["annotations"][UNIT_ANNOTATION]]


def test_routes_say_the_shares_and_who_decodes() -> None:
    routing = json.loads(the("ConfigMap", rendered(SPLIT))["data"]["routing.json"])
    by_id = {key: value["name"] for key, value in routing["units"].items()}
    (sizes,) = routing["routes"]
    assert (sizes["input_tokens"], sizes["output_tokens"]) == ([1, 1000], [1, 200])
    assert [(by_id[to["unit"]], by_id.get(to.get("decode_unit")), to["fraction"]) for to in sizes["to"]] == [
        ("chat/read", "chat/decode", 0.6), ("chat/whole", None, 0.4),
    ]  # fmt: skip
    services = {d["metadata"]["name"] for d in rendered(SPLIT) if d["kind"] == "Service"}
    assert {value["url"] for value in routing["units"].values()} == {f"http://{name}:8000" for name in services}


def test_more_routes_than_a_config_map_holds_are_refused() -> None:
    sizes = [(i, j) for i in range(1, 140) for j in range(1, 140)]
    many = tuple(route("u", input_tokens=(i, i), output_tokens=(j, j)) for i, j in sizes)
    with pytest.raises(InvalidInput, match="more than a ConfigMap holds"):
        render_plan(plan(unit(unit="u"), routing=many), "kubernetes")


def test_vllm_hands_over_caches_by_the_address_of_its_pod() -> None:
    for document in rendered(SPLIT):
        if document["kind"] == "Deployment":
            split = document["metadata"]["labels"]["app.kubernetes.io/component"] != "unified"
            assert any(word.startswith("--kv-transfer-config=") for word in command(document)) == split
            names_of = {variable["name"] for variable in container(document)["env"]}
            assert ("VLLM_NIXL_SIDE_CHANNEL_HOST" in names_of) == split


def test_tensorrt_llm_gets_its_options_from_a_file() -> None:
    made = plan(unit(unit="read", role="prefill", engine="trtllm", dp=2), gpus_per_instance=8, routing=())
    found = rendered(made)
    deployment, options = the("Deployment", found), the("ConfigMap", found)
    (flag,) = [word for word in command(deployment) if word.startswith("--extra_llm_api_options=")]
    (mount,) = [m for m in container(deployment)["volumeMounts"] if m["name"] == "options"]
    assert flag == f"--extra_llm_api_options={mount['mountPath']}/{next(iter(options['data']))}"
    assert yaml.safe_load(options["data"]["engine.yaml"]) == {
        "enable_attention_dp": True,
        "disable_overlap_scheduler": True,
        "cache_transceiver_config": {"backend": "DEFAULT"},
    }
    assert "--tp_size=2" in command(deployment)
    assert options["metadata"]["name"] in {
        volume["configMap"]["name"]
        for volume in deployment["spec"]["template"]["spec"]["volumes"]
        if "configMap" in volume
    }


def test_limits_are_those_of_the_routes_to_a_unit() -> None:
    """The concurrency of a route is that of the replica that decodes."""
    routing = (
        route("read", decode_unit="decode", concurrency=40.2, fraction=0.6),
        route("whole", concurrency=12.0, input_tokens=(1, 300), fraction=0.4),
    )
    rows = (
        unit(unit="read", role="prefill"),
        unit(unit="decode", role="decode"),
        unit(unit="whole"),
        unit(unit="idle"),
    )
    limits = {
        document["metadata"]["annotations"][UNIT_ANNOTATION]: [w for w in command(document) if w.startswith("--max-")]
        for document in rendered(plan(*rows, routing=routing))
        if document["kind"] == "Deployment"
    }
    assert limits == {
        "read": ["--max-model-len=1200"],
        "decode": ["--max-model-len=1200", "--max-num-seqs=41"],
        "whole": ["--max-model-len=500", "--max-num-seqs=12"],
        "idle": ["--max-model-len=1200"],
    }


@pytest.mark.parametrize(
    ("engine", "precision", "model", "needed"),
    [
        ("vllm", "fp8", "a/b", False), ("vllm", "fp4", "a/b", True), ("vllm", "fp4", "a/b-NVFP4", False),
        ("sglang", "fp8", "a/b", False), ("trtllm", "fp8", "a/b", True), ("trtllm", "bf16", "a/b", False),
        ("vllm", "int4", "a/b-AWQ", False), ("vllm", "fp4", "openai/gpt-oss-120b", False),
    ],
)  # fmt: skip
def test_a_remark_says_where_a_checkpoint_must_be_quantised(
    engine: str, precision: str, model: str, needed: bool
) -> None:
    made = plan(unit(engine=engine, precision=precision), model=model)
    texts = render_plan(made, "kubernetes").values()
    assert any(text.startswith(f"# Put a checkpoint quantised to {precision}") for text in texts) == needed


def test_every_gpu_of_the_catalogue_has_its_label() -> None:
    assert {gpu.name for gpu in load().gpus} <= PRODUCTS.keys()


def test_amd_gpus_have_amd_resources() -> None:
    deployment = the("Deployment", rendered(plan(unit(gpu="MI300X"))))
    assert container(deployment)["resources"] == {"limits": {"amd.com/gpu": "1"}}
    assert "amd.com/gpu.product-name" in deployment["spec"]["template"]["spec"]["nodeSelector"]


# Names


def test_names_stay_when_other_units_come_and_go() -> None:
    one, two = unit(unit="one"), unit(unit="two")
    before = {d["metadata"]["name"] for d in rendered(plan(one)) if d["kind"] == "Deployment"}
    after = {d["metadata"]["name"] for d in rendered(plan(two, one)) if d["kind"] == "Deployment"}
    assert before < after


def test_deployments_of_one_plan_under_two_names_share_no_object() -> None:
    def keys(name: str) -> set[tuple[str, str]]:
        return {(one["kind"], one["metadata"]["name"]) for one in objects(SPLIT, name)}

    assert len(keys("a") | keys("b")) == 2 * len(objects(SPLIT))
    assert keys("spec") == {(one["kind"], one["metadata"]["name"]) for one in objects(SPLIT)}


@given(names, names)
def test_names_and_labels_are_valid_and_different_for_different_things(one: str, other: str) -> None:
    made = {name: dns_name(name, "h100", of=(name,)) for name in (one, other)}
    assert all(DNS_LABEL.fullmatch(value) and len(value) <= 41 for value in made.values())
    assert len(set(made.values())) == len({one, other})
    values = {name: label_value(name) for name in (one, other)}
    assert all(LABEL_VALUE.fullmatch(value) for value in values.values())
    assert len(set(values.values())) == len({one, other})


def test_names_that_look_alike_once_cleaned_and_cut_stay_apart() -> None:
    alike = ["a b", "a!b", "a-b", "A B", *(f"{'x' * 190}{end}" for end in "12-"), "é", "ü", "-", "--"]
    assert len({label_value(name) for name in alike}) == len(alike)
    assert len({dns_name(name, of=(name,)) for name in alike}) == len(alike)
    assert len({dns_name("same", of=(name,)) for name in alike}) == len(alike)
    assert dns_name("a", "b", of=("a", "b")) != dns_name("a-b", of=("a-b",))
    for name in (*alike, *EVIL, "x" * 63, "x" * 64):
        assert DNS_LABEL.fullmatch(dns_name(name, name, of=(name,)))
        assert len(dns_name(name, name, of=(name,))) <= 41
        assert LABEL_VALUE.fullmatch(label_value(name))
    assert label_value("x" * 63) == "x" * 63


@given(names)
def test_kubernetes_arrives_at_the_word(word: str) -> None:
    assert expanded(escaped(word)) == word


def say(made: ServingPlan) -> None:
    """The objects hold every name of the plan as it is, and nothing more than they should."""
    found = rendered(made)
    assert found == sorted_as(found, objects(made))
    deployment = the("Deployment", found)
    row, model = made.allocation[0], made.spec.services[0].model
    assert command(deployment)[:3] == ["vllm", "serve", model]
    assert f"--served-model-name={model}" in command(deployment)
    annotations = deployment["metadata"]["annotations"]
    assert annotations == {UNIT_ANNOTATION: row.unit, "gpuplan.dev/model": model}
    routing = json.loads(the("ConfigMap", found)["data"]["routing.json"])
    assert routing["service"] == row.service
    assert {d["kind"] for d in found} == {"ConfigMap", "Service", "PodDisruptionBudget", "Deployment"}


def sorted_as(found: list[dict[str, Any]], made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_key = {(d["kind"], d["metadata"]["name"]): d for d in made}
    return [by_key[d["kind"], d["metadata"]["name"]] for d in found]


@settings(max_examples=30, deadline=None)
@given(names, names, names, names, names, names)
def test_no_name_is_more_than_a_name(spec: str, service: str, model: str, place: str, region: str, name: str) -> None:
    row = unit(unit=name, instance_type=place, region=region)
    made = plan(row, name=spec, service=service, model=f"m{model}"[:200])
    say(made)
    for document in rendered(made):
        kubernetes_validate.validate(document, "1.31", strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl reads YAML as Kubernetes does")
def test_kubectl_reads_the_same_objects(tmp_path: Path) -> None:
    """Go's parser takes some texts for numbers or booleans that PyYAML does not."""
    made = plan(*(unit(unit=name, instance_type=name) for name in EVIL))
    files = render_plan(made, "kubernetes")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    labelled = ["kubectl", "label", "--local", "-f", str(tmp_path), "read=yes", "-o", "json"]
    result = subprocess.run(labelled, capture_output=True, check=True, text=True)
    read = {(d["kind"], d["metadata"]["name"]): d for d in each_json(result.stdout)}
    made_objects = objects(made)
    assert len(read) == len(made_objects)
    for one in made_objects:
        assert holds(read[one["kind"], one["metadata"]["name"]], one)


def each_json(text: str) -> list[dict[str, Any]]:
    found, at, decoder = [], 0, json.JSONDecoder()
    while at < len(text.rstrip()):
        document, end = decoder.raw_decode(text[at:])
        found.append(document)
        at += end + len(text[at + end :]) - len(text[at + end :].lstrip())
    return found


def holds(read: Any, written: Any) -> bool:
    """Whether all that was written was read so; kubectl adds defaults."""
    if isinstance(written, dict):
        return all(key in read and holds(read[key], value) for key, value in written.items())
    if isinstance(written, list):
        return len(read) == len(written) and all(map(holds, read, written))
    return bool(read == written and type(read) is type(written))


@pytest.mark.parametrize("version", ["1.31", "1.34"])
def test_objects_pass_the_schema_of_kubernetes(version: str) -> None:
    made = (
        SPLIT,
        plan(unit(engine="sglang", ep=2, dp=2, market="spot"), gpus_per_instance=8),
        plan(unit(gpu="MI300X")),
    )
    for one in made:
        for document in rendered(one):
            kubernetes_validate.validate(document, version, strict=True)


def test_the_schema_would_catch_a_slip() -> None:
    slipped = the("Deployment", rendered(plan()))
    slipped["spec"]["strategy"]["rollingUpdate"]["maxSurges"] = 0
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(slipped, "1.31", strict=True)


# Refusals


def test_a_model_that_would_be_an_option_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no model that an engine"):
        render_plan(plan(model="--config=/etc/passwd"), "kubernetes")


def test_plans_that_contradict_themselves_are_refused() -> None:
    good = plan(unit(unit="u"))
    row = good.allocation[0]
    broken: dict[str, ServingPlan] = {
        "appears twice": good.model_copy(update={"allocation": (row, row)}),
        "of no service": good.model_copy(update={"allocation": (row.model_copy(update={"service": "other"}),)}),
        "no replicas": good.model_copy(update={"allocation": (row.model_copy(update={"replicas": 0}),)}),
        "do not make its GPUs": good.model_copy(
            update={"allocation": (row.model_copy(update={"gpus_per_replica": 2}),)}
        ),
        "does not run": good.model_copy(update={"routing": (route("elsewhere"),)}),
        "does not rent": good.model_copy(update={"rentals": ()}),
    }
    for words, made in broken.items():
        with pytest.raises(FailedCheck, match=words):
            render_plan(made, "kubernetes")
