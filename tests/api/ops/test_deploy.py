"""The files of ``examples/deploy``: they start what exists, ask for what exists, and are what their readers read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine
from typer.testing import CliRunner

from api.commands import register
from api.ops import metrics
from planner.cli import init
from planner.settings import Settings

DEPLOY = Path(__file__).parents[3] / "examples/deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def _known_metrics(engine: Engine) -> dict[str, set[str]]:
    """Every series that Prometheus can have of us, and its labels."""
    metrics.job_ended("plan", "done", 1.0, {"kind": "serving", "outcome": "optimal", "solve_s": 1.0, "gap": 0.1})
    metrics.request_ended("GET", "/healthz", 200, 0.1)
    known: dict[str, set[str]] = {"up": {"job"}}
    for family in text_string_to_metric_families(metrics.exposition(engine).decode()):
        for sample in family.samples:
            known[sample.name] = {*sample.labels, "job", "instance"}
    return known


def _expressions() -> list[str]:
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    targets = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return targets + [rule["expr"] for group in rules for rule in group["rules"]]


def test_every_metric_and_label_that_is_queried_exists(engine: Engine) -> None:
    known = _known_metrics(engine)
    assert len(_expressions()) > 25
    for expression in _expressions():
        named = set(re.findall(r"\b(?:gpuplan|process)_\w+|\bup\b", expression))
        assert named, expression
        assert named <= known.keys(), expression
        labels = set().union(*(known[name] for name in named))
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
        for group in re.findall(r"\bby \(([^)]*)\)", expression):
            asked |= {label.strip() for label in group.split(",")}
        assert asked <= labels, expression


def test_legends_name_labels_that_the_query_keeps() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                kept = re.search(rf"\bby \([^)]*\b{label}\b", target["expr"]) or " by " not in target["expr"]
                assert kept, target


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_its_files() -> None:
    for command in (["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"],
                    ["test", "rules", "alerts_test.yml"]):  # fmt: skip
        done = subprocess.run(["promtool", *command], cwd=DEPLOY, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def _parsed(arguments: list[str]) -> None:
    """Parse a command line as ``gpuplan`` does, without doing it: a command or option that is unknown stops --help."""
    app = typer.Typer()
    register(app)
    app.command()(init)
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, result.output


def test_what_does_not_exist_would_be_found() -> None:
    for wrong in (["serve", "--hots", "x"], ["server"], ["keys", "make", "me"]):
        with pytest.raises(AssertionError):
            _parsed(wrong)


def _services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = COMPOSE["services"]
    return services


def test_containers_run_commands_that_exist() -> None:
    for service in _services().values():
        if service["image"] == "gpuplan":
            _parsed(service["command"])
    _parsed(json.loads(re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[-1]))
    text = (DEPLOY / "compose.yaml").read_text() + (DEPLOY / "README.md").read_text()
    for words in re.findall(r"run --rm migrate (keys .*)", text):
        _parsed(words.split())


def test_containers_set_variables_that_exist() -> None:
    fields = {f"GPUPLAN_{name.upper()}" for name in Settings.model_fields}
    text = DOCKERFILE + (DEPLOY / "compose.yaml").read_text() + (DEPLOY / "README.md").read_text()
    named = set(re.findall(r"\bGPUPLAN_[A-Z_]+", text))
    assert named
    assert named <= fields
    environment = _services()["api"]["environment"]
    patience_s = float(environment["GPUPLAN_SHUTDOWN_S"])
    grace_s = float(_services()["api"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > 2 * patience_s, "requests and jobs get that long each"


def test_what_a_service_waits_for_is_there_and_can_be_waited_for() -> None:
    services = _services()
    for service in services.values():
        for name, wait in service.get("depends_on", {}).items():
            assert name in services
            if wait["condition"] == "service_healthy":
                assert services[name]["healthcheck"]["test"]
    volumes = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert volumes == set(COMPOSE["volumes"])


def test_nothing_is_published_beyond_loopback_and_nobody_is_root() -> None:
    for service in _services().values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert "user" not in service
        assert not service.get("privileged")
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["10001"]


def test_what_the_image_copies_reaches_the_builder_and_is_there() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    for name in " ".join(copied).split():
        assert f"!{name}" in ignored
        assert (DEPLOY.parents[1] / name).exists()


@pytest.mark.skipif(shutil.which("hadolint", path=str(Path(sys.executable).parent)) is None, reason="no hadolint")
def test_the_dockerfile_keeps_the_rules_of_hadolint() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_readme_lists_every_setting_with_its_default() -> None:
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        default = "none" if field.default is None else field.default
        assert f"| `GPUPLAN_{name.upper()}` | {default} |" in readme
