"""SkyPilot and dstack themselves accept the files, and read back the very names.

They pin libraries that ours outgrew, so they live in an environment of their own, whose Python ``GPUPLAN_VALIDATORS``
names.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from planner.render.serving_units import units
from planner.render.targets import render_plan
from planner.serving.plan import ServingPlan
from tests.planner.render.serving_plans import EVIL, plan, unit

PYTHON = os.environ.get("GPUPLAN_VALIDATORS", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="GPUPLAN_VALIDATORS names no Python with skypilot and dstack")

CATALOGUE = """\
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone,Arch
p5.4xlarge,H100,1,16,256,,6.88,2.5,us-east-1,us-east-1a,x86_64
"""
"""The part of SkyPilot's catalogue of AWS that these plans name; it would fetch the whole one."""

SKYPILOT = """
import json, sys, yaml
import sky
from sky.serve import serve_utils
for path in sys.argv[1:]:
    try:
        task = sky.Task.from_yaml_config(yaml.safe_load(open(path, encoding="utf-8")))
        serve_utils.validate_service_task(task, pool=False)
        (wanted,) = task.resources
        found = {"name": task.name, "run": task.run, "instance_type": wanted.instance_type, "spot": wanted.use_spot,
                 "region": wanted.region, "cloud": str(wanted.cloud).lower(), "gpus": wanted.accelerators,
                 "replicas": task.service.min_replicas}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(found))
"""

DSTACK = """
import json, sys, yaml
from dstack._internal.core.models.configurations import parse_apply_configuration
from dstack._internal.core.services import is_valid_dstack_resource_name
from dstack._internal.utils.gpu import detect_gpu_vendors_by_gpu_name
from dstack._internal.utils.nodes_interpolator import contains_groups_ref
for path in sys.argv[1:]:
    try:
        made = parse_apply_configuration(yaml.safe_load(open(path, encoding="utf-8")))
        names = made.resources.gpu.name
        assert is_valid_dstack_resource_name(made.name), made.name
        assert len(detect_gpu_vendors_by_gpu_name(names[0])) == 1, names
        found = {"type": made.type, "name": made.name, "gpus": [names[0], made.resources.gpu.count.min]}
        if made.type == "service":
            assert not any(map(contains_groups_ref, made.commands)), made.commands
            found |= {"commands": made.commands, "model": made.model.name, "replicas": made.replicas.min}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(found))
"""


def validated(script: str, files: dict[str, str], folder: Path) -> list[dict[str, Any]]:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    catalogue = folder / "home/.sky/catalogs/v8/aws/vms.csv"
    catalogue.parent.mkdir(parents=True, exist_ok=True)
    catalogue.write_text(CATALOGUE)
    environment = {**os.environ, "HOME": str(folder / "home"), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    ran = subprocess.run([PYTHON, "-c", script, *files], cwd=folder, env=environment, capture_output=True, text=True,
                         check=True, timeout=120)  # fmt: skip
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


def evil_plans() -> list[ServingPlan]:
    return [plan(unit(unit=name), name=name, service=name, model=f"m{name}"[:200]) for name in EVIL]


def test_skypilot_reads_the_plan_and_the_very_names(tmp_path: Path) -> None:
    made = [plan(unit(unit="a", replicas=2), unit(unit="b", market="spot")), *evil_plans()]
    files = {name: text for one in made for name, text in render_plan(one, "skypilot").items()}
    read = validated(SKYPILOT, files, tmp_path)
    expected = [found for one in made for found in units(one)]
    assert len(read) == len(files) == len(expected)
    for found, wanted in zip(read, expected, strict=True):
        assert found.pop("run").rstrip("\n").startswith("exec vllm serve ")
        assert found == {
            "name": wanted.id, "instance_type": "p5.4xlarge", "spot": wanted.row.market == "spot",
            "region": "us-east-1", "cloud": "aws", "gpus": {"H100": 1}, "replicas": wanted.row.replicas,
        }  # fmt: skip


def test_skypilot_would_catch_a_slip(tmp_path: Path) -> None:
    slips = [
        ("use_spot:", "use_spots:", "use_spot"),
        ("p5.4xlarge", "p5.5xlarge", "No instance type"),
        ("readiness_probe:", "readyness_probe:", "readiness_probe"),
        ("min_replicas: 3", "min_replicas: 4", "max_replicas"),
    ]
    ((_, text),) = render_plan(plan(), "skypilot").items()
    assert all(written in text for written, _, _ in slips)
    files = {f"{number}.yaml": text.replace(written, slip) for number, (written, slip, _) in enumerate(slips)}
    for found, (_, _, words) in zip(validated(SKYPILOT, files, tmp_path), slips, strict=True):
        assert words in found["error"]


def test_dstack_reads_the_plan_and_the_very_names(tmp_path: Path) -> None:
    made = [plan(unit(tp=2, gpu="A100-80GB"), gpus_per_instance=8), *evil_plans()]
    files = {name: text for one in made for name, text in render_plan(one, "dstack").items()}
    read = validated(DSTACK, files, tmp_path)
    assert not [found for found in read if "error" in found]
    services = [found for found in read if found["type"] == "service"]
    assert len(read) == len(files) == 2 * len(services)
    assert all(found.pop("commands")[0].startswith("exec vllm serve ") for found in services)
    assert services == [
        {"type": "service", "name": one.id, "model": one.run.model, "replicas": one.row.replicas,
         "gpus": [one.row.gpu.split("-")[0], one.row.gpus_per_replica]}
        for (one,) in map(units, made)
    ]  # fmt: skip


def test_dstack_would_catch_a_slip(tmp_path: Path) -> None:
    slips = [
        ("replicas:", "replicass:"),
        ("name: H100", "name: H1000"),
        ("type: service", "type: servise"),
        ("port:", "prt:"),
    ]
    texts = render_plan(plan(), "dstack").values()
    (text,) = [text for text in texts if text.startswith("type: service")]
    assert all(written in text for written, _ in slips)
    files = {f"{number}.yaml": text.replace(written, slip) for number, (written, slip) in enumerate(slips)}
    read = validated(DSTACK, files, tmp_path)
    assert len(read) == len(slips)
    assert all("error" in found for found in read)
