"""The examples are what their systems read, and the service among them is planned by the hour."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from planner.cli import app
from planner.replan.report import Report

EXAMPLES = Path(__file__).parents[3] / "examples" / "replan"


def test_the_cron_job_is_valid_for_kubernetes() -> None:
    validator = pytest.importorskip("kubernetes_validate")
    document = yaml.safe_load((EXAMPLES / "cronjob.yaml").read_text())
    validator.validate(document, validator.latest_version(), strict=True)


@pytest.mark.parametrize(
    ("name", "section", "key"), [("service", "Service", "ExecStart"), ("timer", "Timer", "OnCalendar")]
)
def test_units_have_their_sections(name: str, section: str, key: str) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.read_string((EXAMPLES / f"gpuplan-replan.{name}").read_text())
    assert unit[section][key]


def test_the_example_service_follows_its_day(tmp_path: Path) -> None:
    """Saved, planned, reported, shown and deleted from the command line; cheaper than one plan for the busiest hour."""
    run = CliRunner(env={"GPUPLAN_DATABASE_URL": f"sqlite:///{tmp_path / 'store.db'}", "NO_COLOR": "1"}).invoke
    assert run(app, ["init"]).exit_code == 0
    assert run(app, ["services", "save", str(EXAMPLES / "chat_service.yaml")]).exit_code == 0
    planned = ["replan", "--date", "2026-03-02", "--out", str(tmp_path / "reports")]
    assert run(app, planned).exit_code == 0
    text = (tmp_path / "reports" / "chat-2026-03-02.json").read_text()
    report = Report.model_validate_json(text)
    assert report.decision == "first_plan"
    assert report.usd_plan is not None
    assert report.usd_static_peak is not None
    assert report.usd_plan < 0.9 * report.usd_static_peak
    assert len({hour.fleet for hour in report.hours}) > 1
    assert "# chat, 2026-03-02: first plan" in (tmp_path / "reports" / "chat-2026-03-02.md").read_text()
    assert run(app, planned).exit_code == 0
    assert (tmp_path / "reports" / "chat-2026-03-02.json").read_text() == text
    assert "first_plan" in run(app, ["services", "show", "chat"]).stdout
    assert run(app, ["services", "delete", "chat"]).exit_code == 0
    assert run(app, ["services", "show", "chat"]).exit_code == 2
    assert run(app, ["replan", "--date", "2026-02-30"]).exit_code == 2
