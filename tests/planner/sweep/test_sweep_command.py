"""``gpuplan sweep``: tables, files, exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from planner.cli import app
from planner.sweep import engines
from tests.planner.sweep.problems import PRICE, RATE, SPEC


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(engines, "_num_cpus", lambda: 1)
    monkeypatch.setenv("GPUPLAN_DATABASE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(SPEC))
    return path


def swept(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["sweep", *map(str, arguments)])


def test_a_table_and_both_kinds_of_files(spec: Path, tmp_path: Path) -> None:
    vary = ["--vary", f"{RATE}=5,x2,-1", "--vary", f"{PRICE}=3.5,7"]
    said = swept("serving", spec, *vary, "--out", tmp_path / "rows.csv")
    assert said.exit_code == 0, said.output
    assert "6 scenarios, 2 of them failed" in said.output
    assert "×2" in said.output
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(json.loads(row[RATE]), json.loads(row[PRICE])) for row in rows] == [
        (rate, price) for rate in (5, {"times": 2}, -1) for price in (3.5, 7)
    ]
    answer = json.loads(swept("serving", spec, *vary, "--json", "--out", tmp_path / "rows.json").stdout)
    assert answer == json.loads((tmp_path / "rows.json").read_text())
    for row, line in zip(answer["rows"], rows, strict=True):
        assert (row["outcome"], row["digest"], row["error"] or "") == (line["outcome"], line["digest"], line["error"])
        assert str(row["figures"].get("usd_per_hour", "")) == line["usd_per_hour"]


def test_scenarios_from_a_file(spec: Path, tmp_path: Path) -> None:
    (tmp_path / "scenarios.yaml").write_text(f"- {{'{RATE}': 3}}\n- {{'{PRICE}': {{times: 2}}}}\n")
    said = swept("serving", spec, "--scenarios", tmp_path / "scenarios.yaml", "--json")
    assert said.exit_code == 0, said.output
    assert [row["changes"] for row in json.loads(said.stdout)["rows"]] == [{RATE: 3}, {PRICE: {"times": 2}}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serving", "SPEC"], "either vary"),
        (["serving", "SPEC", "--vary", "nothing"], "is not PATH=VALUE"),
        (["serving", "SPEC", "--vary", f"{RATE}="], "is not PATH=VALUE"),
        (["serving", "SPEC", "--vary", "services[9].name=a"], "services has 1 entries"),
        (["lunch", "SPEC", "--vary", f"{RATE}=1"], "lunch"),
        (["serving", "nope.yaml", "--vary", f"{RATE}=1"], "nope.yaml"),
        (["serving", "SPEC", "--vary", f"{RATE}=1", "--out", "rows.txt"], ".csv or .json"),
        (["serving", "SPEC", "--scenarios", "SPEC"], "not a list of scenarios"),
        (["simulation", "SPEC", "--vary", "options.seed=1"], "plan"),
    ],
)
def test_mistakes(spec: Path, arguments: list[str], said: str) -> None:
    result = swept(*(str(spec) if argument == "SPEC" else argument for argument in arguments))
    assert result.exit_code == 2
    assert said in result.output


def test_where_every_scenario_failed_so_did_the_command(spec: Path) -> None:
    assert swept("serving", spec, "--vary", f"{RATE}=-1,-2").exit_code == 2
    assert swept("serving", spec, "--vary", f"{RATE}=-1,2").exit_code == 0
