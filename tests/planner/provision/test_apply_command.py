"""``gpuplan apply``, ``status``, ``rollback``, ``withdraw`` and ``deployments`` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from planner.cli import app
from planner.provision.history import alone
from planner.service import keep
from planner.serving.plan import ServingPlan
from tests.planner.provision.plans import CHEAPEST, OTHER

Plans = tuple[ServingPlan, ServingPlan, ServingPlan]


@pytest.fixture
def run(filled: Engine, folder: Path) -> Any:
    """Runs a command on the store and the local target."""
    runner = CliRunner()

    def command(*words: str, code: int = 0) -> tuple[str, str]:
        target = [part.replace("HERE", f"local:{folder}") for part in words]
        result = runner.invoke(app, [*target, "--database", str(filled.url)])
        assert result.exit_code == code, result.output + repr(result.exception)
        return result.stdout, result.stderr

    return command


def saved(tmp_path: Path, plan: ServingPlan, name: str) -> str:
    path = tmp_path / f"{name}.json"
    path.write_text(plan.model_dump_json())
    return str(path)


def test_the_whole_life(run: Any, filled: Engine, folder: Path, tmp_path: Path, plans: Plans) -> None:
    small, mixed = saved(tmp_path, plans[0], "small"), saved(tmp_path, plans[1], "mixed")
    shown, told = run("apply", small, "--target", "HERE")
    assert "chat at local:" in shown
    assert "2 to add, 0 to change, 0 to remove" in shown
    assert "--yes does it" in told
    assert not folder.exists()
    shown, _ = run("apply", small, "--target", "HERE", "--yes", "--wait", "30")
    assert "chat runs plan" in shown
    assert "applied" in run("status", "chat")[0]
    run("apply", mixed, "--target", "HERE", "--yes", "--wait", "30")
    (unit,) = (folder / "chat" / "objects").glob(f"Unit.*{OTHER.split('.')[0]}-*")
    unit.write_text(unit.read_text().replace('"precision": "fp8"', '"precision": "fp16"'))
    shown, _ = run("status", "chat", code=6)
    assert 'spec.precision: "fp16" → "fp8"' in shown
    shown, told = run("rollback", "chat")
    assert "1 to remove" in shown
    assert "--yes does it" in told
    run("rollback", "chat", "--yes", "--wait", "30")
    _, told = run("rollback", "chat", "--yes", code=2)
    assert "no earlier plan" in told
    found = json.loads(run("deployments", "--json")[0])
    assert [(row["name"], row["purpose"], row["state"]) for row in found] == [("chat", "rollback", "applied")]
    assert "chat" in run("deployments")[0]
    assert "2 to remove" in run("withdraw", "chat")[0]
    run("withdraw", "chat", "--yes")
    assert not (folder / "chat").exists()
    assert json.loads(run("status", "chat", "--json")[0])["deployment"]["state"] == "removed"


def test_json_says_everything(run: Any, filled: Engine, tmp_path: Path, plans: Plans) -> None:
    plan_id = keep(plans[0], plans[0].spec, filled)
    document = json.loads(run("apply", plan_id, "--target", "HERE", "--name", "one", "--json")[0])
    assert document["applied"] is False
    assert {change["action"] for change in document["changes"]} == {"add"}
    assert all("document" not in change for change in document["changes"])
    done = json.loads(run("apply", plan_id, "--target", "HERE", "--name", "one", "--yes", "--json")[0])
    assert (done["applied"], done["deployment"]["plan_id"], done["notes"]) == (True, plan_id, [])
    assert [unit["ready"] for unit in done["units"]] == [1]
    stands = json.loads(run("status", "one", "--json")[0])
    assert (stands["as_planned"], stands["drift"], stands["changing"]) == (True, [], False)


def test_shortage(run: Any, folder: Path, tmp_path: Path, plans: Plans) -> None:
    folder.mkdir()
    (folder / "capacity.json").write_text(json.dumps({CHEAPEST: 0}))
    small = saved(tmp_path, plans[0], "small")
    _, told = run("apply", small, "--target", "HERE", "--yes", "--wait", "0.3", code=6)
    assert f"there are only 0 instances of {CHEAPEST}" in told
    assert "The next best plan costs" in told
    assert "--fallback" in told
    shown, _ = run("apply", small, "--target", "HERE", "--yes", "--wait", "0.3", "--fallback")
    assert f"Short: 0 of 1 {CHEAPEST}" in shown
    assert "as_planned" in run("status", "chat", "--json")[0]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("apply", "nowhere.json", "--target", "HERE"), 2, "nowhere.json"),
        (("apply", "0123", "--target", "HERE"), 2, "unknown plan"),
        (("apply", "a" * 5000, "--target", "HERE"), 2, "unknown plan"),
        (("apply", "PLAN", "--target", "moon"), 2, "targets: local, kubernetes, skypilot"),
        (("apply", "PLAN", "--target", "HERE", "--name", "../up"), 2, "cannot name a deployment"),
        (("apply", "PLAN", "--target", "HERE", "--name", "A"), 2, "cannot name a deployment"),
        (("apply", "PLAN", "--target", "HERE", "--wait", "-1"), 2, "--wait"),
        (("status", "chat"), 2, "nothing was applied under 'chat'"),
        (("status", "../x", "--target", "HERE"), 2, "nothing was applied"),
        (("rollback", "chat"), 2, "nothing was applied"),
        (("withdraw", "chat", "--yes"), 2, "nothing was applied"),
    ],
)
def test_mistakes_are_named(
    run: Any, tmp_path: Path, plans: Plans, words: tuple[str, ...], code: int, told: str
) -> None:
    plan = saved(tmp_path, plans[0], "small")
    assert told in run(*(plan if word == "PLAN" else word for word in words), code=code)[1]


def test_plans_of_other_kinds_are_not_applied(run: Any, tmp_path: Path) -> None:
    loads = tmp_path / "loads.json"
    loads.write_text(json.dumps({"logical_count": [[[1, 2, 3, 4]]]}))
    plan = tmp_path / "experts.json"
    run("plan", "experts", str(loads), "--gpus", "2", "--nodes", "1", "--slots-per-gpu", "2", "--out", str(plan))
    assert "only serving and training plans can be applied" in run("apply", str(plan), "--target", "HERE", code=2)[1]


def test_a_plan_that_was_tampered_with_is_refused(run: Any, tmp_path: Path, plans: Plans) -> None:
    row = plans[0].allocation[0].model_copy(update={"replicas": 0})
    plan = saved(tmp_path, plans[0].model_copy(update={"allocation": (row,)}), "less")
    assert "does not hold and is not applied" in run("apply", plan, "--target", "HERE", "--yes", code=1)[1]


def test_two_at_once(run: Any, filled: Engine, folder: Path, tmp_path: Path, plans: Plans) -> None:
    small = saved(tmp_path, plans[0], "small")
    with alone(filled, "chat"):
        assert "being changed by another gpuplan" in run("apply", small, "--target", "HERE", "--yes", code=2)[1]
    assert not folder.exists()
    run("apply", small, "--target", "HERE", "--yes")
    with alone(filled, "chat"):
        assert "being changed now" in run("status", "chat")[0]


def test_control_characters_do_not_reach_the_terminal(run: Any, folder: Path, tmp_path: Path, plans: Plans) -> None:
    run("apply", saved(tmp_path, plans[0], "small"), "--target", "HERE", "--yes")
    (unit,) = (folder / "chat" / "objects").glob("Unit.*")
    document = json.loads(unit.read_text())
    document["spec"]["\x1b[2J"] = "\x1b[31mred\x9b"
    unit.write_text(json.dumps(document))
    shown, _ = run("status", "chat", code=6)
    assert "\x1b[2J" not in shown
    assert "\x9b" not in shown
