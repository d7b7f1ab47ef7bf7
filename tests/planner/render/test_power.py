"""Rendered power plans say what the plan says: documents are read back, scripts run against stand-ins, rules tested."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from planner.errors import InvalidInput
from planner.power.plan import PowerPlan
from planner.power.policy import GpuCap, no_capping, power_capped
from planner.power.spec import Priority
from planner.render.power import RENDERERS
from planner.render.power_commands import class_files
from tests.planner.power.plans import row_plan, site_plan


def rendered(plan: PowerPlan, target: str) -> dict[str, str]:
    files = RENDERERS[target].render(plan)
    assert all(text.endswith("\n") for text in files.values())
    return files


def written(plan: PowerPlan, target: str, folder: Path) -> Path:
    for name, text in rendered(plan, target).items():
        (folder / name).write_text(text)
    return folder


def with_classes(*names: str) -> PowerPlan:
    """The plan with its two classes under other names."""
    plan = row_plan()
    new = dict(zip(("low", "high"), names, strict=True))
    assert plan.policy is not None
    steps = tuple(
        step.model_copy(update={"caps": tuple(c.model_copy(update={"priority": new[c.priority]}) for c in step.caps)})
        for step in plan.policy.steps
    )
    spec = plan.spec.model_copy(
        update={
            "priorities": tuple(Priority(name=name) for name in names),
            "workloads": tuple(w.model_copy(update={"priority": new[w.priority]}) for w in plan.spec.workloads),
        }
    )
    return plan.model_copy(update={"spec": spec, "policy": plan.policy.model_copy(update={"steps": steps})})


def test_the_policy_reads_back_the_same_from_both_files():
    plan = row_plan()
    files = rendered(plan, "policy")
    document = json.loads(files["policy.json"])
    assert yaml.safe_load(files["policy.yaml"]) == document
    assert plan.policy is not None
    assert [s["above"]["share"] for s in document["steps"]] == [s.at for s in plan.policy.steps]
    assert document["steps"][0]["above"]["watts"] == 0.8 * plan.budget_w
    assert document["steps"][0]["release_below"]["watts"] == 0.75 * plan.budget_w
    assert [s["waits"] for s in document["steps"]] == [False, False, True]
    assert document["telemetry"]["fail_safe"] == "step-3"
    assert document["caps"]["free"] == {"low": {}, "high": {}}
    assert document["caps"]["step-2"] == {"low": {"clock_mhz": 1110}, "high": {}}
    assert document["caps"]["step-3"] == {"low": {"clock_mhz": 1110}, "high": {"clock_mhz": 1305}}
    assert document["caps"]["brake"] == {"low": {"clock_mhz": 288}, "high": {"clock_mhz": 288}}


def test_caps_that_hold_together_are_the_lowest():
    plan = row_plan()
    assert plan.policy is not None
    always = (GpuCap(priority="low", clock_mhz=1200), GpuCap(priority="low", power_w=350))
    document = json.loads(
        rendered(plan.model_copy(update={"policy": plan.policy.model_copy(update={"always": always})}), "policy")[
            "policy.json"
        ]
    )
    assert document["caps"]["step-1"]["low"] == {"clock_mhz": 1200, "power_w": 350}
    assert document["caps"]["step-2"]["low"] == {"clock_mhz": 1110, "power_w": 350}


def test_a_plan_without_a_row_has_no_policy_to_render():
    for target in RENDERERS:
        with pytest.raises(InvalidInput, match="no row"):
            RENDERERS[target].render(site_plan())


STANDS_IN = """#!/usr/bin/env bash
case "$*" in
  *index,power.default_limit*) printf '0, 400.00\\n1, 400.00\\n' ;;
  *clocks.max.memory,clocks.max.sm*) printf '1593, 1410\\n1593, 1410\\n' ;;
  *clocks.max.memory*) printf '1593\\n1593\\n' ;;
  *power.default_limit*) printf '400.00\\n400.00\\n' ;;
  *--config*) cat > "$CALLS.credentials"; printf '%s\\n' "$(basename "$0") $*" >> "$CALLS" ;;
  *) printf '%s\\n' "$(basename "$0") $*" >> "$CALLS" ;;
esac
"""


@pytest.fixture
def calls(tmp_path, monkeypatch) -> Path:
    """Where stand-ins of the tools write how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("nvidia-smi", "dcgmi", "curl"):
        (folder / tool).write_text(STANDS_IN)
        (folder / tool).chmod(0o755)
    (folder / "ssh").write_text('#!/usr/bin/env bash\nprintf "ssh %s\\n" "$5" >> "$CALLS"\nbash -s\n')
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def run(*command: str | Path) -> None:
    subprocess.run(["bash", *command], check=True, timeout=20)


def test_scripts_set_clocks_and_set_them_back(tmp_path, calls):
    written(row_plan(), "commands", tmp_path)
    run(tmp_path / "nvidia-smi_step-2_low.sh")
    run(tmp_path / "nvidia-smi_free_low.sh")
    run(tmp_path / "nvidia-smi_brake_high.sh")
    run(tmp_path / "dcgmi_step-1_low.sh")
    run(tmp_path / "dcgmi_free_low.sh")
    assert calls.read_text().splitlines() == [
        "nvidia-smi -lgc 0,1110",
        "nvidia-smi -rgc",
        "nvidia-smi -lgc 0,288",
        "dcgmi config --set -g 0 -a 1593,1275",
        "dcgmi config --set -g 0 -a 1593,1410",
    ]


def test_power_caps_are_set_and_set_back(tmp_path, calls):
    policy = power_capped(("low",), 300)
    written(row_plan().model_copy(update={"policy": policy}), "commands", tmp_path)
    for script in ("nvidia-smi_free_low", "nvidia-smi_brake_low", "dcgmi_free_low"):
        run(tmp_path / f"{script}.sh")
    assert calls.read_text().splitlines() == [
        "nvidia-smi -rgc", "nvidia-smi -pl 300",
        "nvidia-smi -lgc 0,288", "nvidia-smi -i 0 -pl 400.00", "nvidia-smi -i 1 -pl 400.00",
        "dcgmi config --set -g 0 -a 1593,1410", "dcgmi config --set -g 0 -P 300",
    ]  # fmt: skip
    limits = {
        state: json.loads((tmp_path / f"redfish_{state}_low_chassis.json").read_text()) for state in ("free", "brake")
    }
    assert limits["free"] == {"PowerControl": [{"PowerLimit": {"LimitInWatts": 8 * 300 + 2400}}]}
    assert limits["brake"] == {"PowerControl": [{"PowerLimit": {"LimitInWatts": None}}]}


def test_redfish_patches_every_gpu_and_keeps_credentials_out_of_arguments(tmp_path, calls, monkeypatch):
    written(row_plan(), "commands", tmp_path)
    monkeypatch.setenv("REDFISH_USER", "admin")
    monkeypatch.setenv("REDFISH_PASSWORD", 'a "b" \\c')
    monkeypatch.setenv("GPU_IDS", "GPU_A GPU_B")
    run(tmp_path / "redfish_step-1_low.sh", "bmc7")
    lines = calls.read_text().splitlines()
    assert [line.split()[-1] for line in lines] == [
        f"https://bmc7/redfish/v1/Systems/system/Processors/{gpu}" for gpu in ("GPU_A", "GPU_B")
    ]
    assert all("--request PATCH" in line and "admin" not in line for line in lines)
    assert (tmp_path / "calls.credentials").read_text() == 'user = "admin:a \\"b\\" \\\\c"\n'
    body = json.loads((tmp_path / "redfish_step-1_low_gpu.json").read_text())
    assert body == {"OperatingSpeedRangeMHz": {"ControlMode": "Manual", "SettingMax": 1275}}
    assert not any("admin" in path.read_text() for path in tmp_path.glob("redfish*"))


def test_apply_reaches_every_host_of_the_class(tmp_path, calls):
    written(row_plan(), "commands", tmp_path)
    (tmp_path / "hosts_low.txt").write_text("node1\n\nnode2")
    run(tmp_path / "apply.sh", "step-1", "low")
    assert sorted(calls.read_text().splitlines()) == [
        "nvidia-smi -lgc 0,1275", "nvidia-smi -lgc 0,1275", "ssh node1", "ssh node2",
    ]  # fmt: skip
    for wrong in (("step-9", "low"), ("free", "nobody")):
        assert subprocess.run(["bash", tmp_path / "apply.sh", *wrong], capture_output=True, check=False).returncode == 2


HOSTILE = ("low'; touch pwned #", 'high\n"$(touch pwned)"')


def test_names_cannot_run_anything(tmp_path, calls, monkeypatch):
    plan = with_classes(*HOSTILE)
    monkeypatch.chdir(tmp_path)
    written(plan, "commands", tmp_path)
    low = class_files(plan)[HOSTILE[0]]
    (tmp_path / f"hosts_{low}.txt").write_text("node1\n")
    run(tmp_path / "apply.sh", "brake", HOSTILE[0])
    for script in sorted(tmp_path.glob("nvidia-smi*.sh")):
        run(script)
    assert "nvidia-smi -lgc 0,288" in calls.read_text()
    assert not (tmp_path / "pwned").exists()
    assert set(class_files(with_classes("a b", "a-b")).values()) == {"a-b", "a-b-1"}


@pytest.mark.parametrize("names", [("low", "high"), HOSTILE])
@pytest.mark.parametrize("policy", [None, power_capped(("low",), 300), no_capping()])
def test_all_scripts_are_sound(names, policy, tmp_path):
    plan = with_classes(*names) if policy is None else row_plan().model_copy(update={"policy": policy})
    written(plan, "commands", tmp_path)
    scripts = sorted(tmp_path.glob("*.sh"))
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--severity=warning", *scripts], check=True)


def rules(plan: PowerPlan) -> list[dict[str, object]]:
    return yaml.safe_load(rendered(plan, "prometheus")["row_power.rules.yaml"])["groups"][0]["rules"]


def test_rules_carry_the_thresholds_and_what_gpus_do_not_report():
    plan = row_plan()
    assert plan.budget_w is not None
    by_name = {rule.get("alert") or rule["record"]: rule for rule in rules(plan)}
    assert list(by_name)[3:] == ["RowPowerStep1", "RowPowerStep2", "RowPowerStep3", "RowPowerBrake",
                                 "RowPowerTelemetryAbsent"]  # fmt: skip
    assert by_name["RowPowerStep1"]["expr"] == f'row:power_watts{{row="row"}} > {0.8 * plan.budget_w:.1f}'
    assert f"+ {13 * 2400:.1f}" in str(by_name["row:power_watts"]["expr"])
    assert ">= 101" in str(by_name["row:power_watts"]["expr"])  # of 104 GPUs


needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


@needs_promtool
@pytest.mark.parametrize("names", [("low", "high"), (*HOSTILE[:1], "{{ $x }} %")])
def test_promtool_accepts_the_rules(names, tmp_path):
    written(with_classes(*names), "prometheus", tmp_path)
    subprocess.run(["promtool", "check", "rules", tmp_path / "row_power.rules.yaml"], check=True, capture_output=True)


@needs_promtool
def test_alerts_fire_above_thresholds_and_when_telemetry_is_gone(tmp_path):
    """104 GPUs draw 250 W each, 57.2 kW with all else (88%); then 280 W; then 340 W (102%); then nobody reports."""
    written(row_plan(), "prometheus", tmp_path)
    series = [
        {"series": f'DCGM_FI_DEV_POWER_USAGE{{row="row",gpu="{i}"}}', "values": "250x29 280x29 340x29 _x60"}
        for i in range(104)
    ]  # 2 s each: a minute of each
    severity = {"RowPowerStep1": "info", "RowPowerStep2": "info", "RowPowerStep3": "info"}
    watts = {"50s": 57_200, "1m50s": 60_320, "2m50s": 66_560}

    def at(time: str, firing: set[str]) -> list[dict[str, object]]:
        names = ("RowPowerStep1", "RowPowerStep2", "RowPowerStep3", "RowPowerBrake", "RowPowerTelemetryAbsent")
        return [
            {
                "eval_time": time,
                "alertname": name,
                "exp_alerts": [
                    {
                        "exp_labels": {"severity": severity.get(name, "critical"), "row": "row"},
                        "exp_annotations": annotations(name, watts.get(time, 1)),
                    }
                ]
                if name in firing
                else [],
            }
            for name in names
        ]

    def annotations(name: str, watts: int) -> dict[str, str]:
        found = next(rule for rule in rules(row_plan()) if rule.get("alert") == name)
        told: dict[str, str] = found["annotations"]  # type: ignore[assignment]
        return {key: text.replace('{{ $value | printf "%.0f" }}', str(watts)) for key, text in told.items()}

    steps = {"RowPowerStep1", "RowPowerStep2", "RowPowerStep3"}
    tests = [
        {
            "interval": "2s",
            "input_series": series,
            "alert_rule_test": [
                *at("50s", {"RowPowerStep1"}),
                *at("1m50s", steps),
                *at("2m50s", {*steps, "RowPowerBrake"}),
                *at("3m50s", {"RowPowerTelemetryAbsent"}),
            ],
        }
    ]
    document = {"rule_files": ["row_power.rules.yaml"], "evaluation_interval": "2s", "tests": tests}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
    found = subprocess.run(["promtool", "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True,
                           check=False)  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr


class Tags(HTMLParser):
    """Whether every element is closed, and which there are."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in {"meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_plot_is_one_sound_page_that_loads_nothing():
    plan = row_plan()
    page = rendered(plan, "plot")["row_power.html"]
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert "script" not in tags.seen
    assert not re.search(r"(src|href|url\()", page)
    assert tags.seen.count("svg") == 2
    assert plan.judged is not None
    assert tags.seen.count("circle") == 1 + len(plan.pareto) + len(plan.baselines)
    for told in ("step 1: 80%", "step 2, 3: 89%", "brake: 100%", "fit by rating", "prefers-color-scheme:dark"):
        assert told in page


def test_the_plot_draws_the_day_to_scale():
    plan = row_plan()
    page = rendered(plan, "plot")["row_power.html"]
    points = re.search(r'class="power" points="([^"]+)"', page)
    assert points is not None
    heights = [float(pair.split(",")[1]) for pair in points.group(1).split()]
    assert len(heights) == len(plan.trace) == 1440
    highest = max(range(1440), key=lambda i: plan.trace[i].utilisation)
    assert min(heights) == heights[highest]  # SVG counts downwards
    brake = re.search(r'class="brake" x1="\d+" y1="([\d.]+)"', page)
    assert brake is not None
    assert (heights[highest] < float(brake.group(1))) == (plan.trace[highest].utilisation > 1)


def test_plots_of_hostile_names_and_of_nothing_to_draw_are_sound():
    named = row_plan().spec.model_copy(update={"name": "<script>alert(1)</script>"})
    bare = row_plan().model_copy(update={"spec": named, "trace": (), "pareto": (), "baselines": (), "judged": None})
    page = rendered(bare, "plot")["row_power.html"]
    assert "<script" not in page
    assert "<svg" not in page
