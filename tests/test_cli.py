"""The command line as people and machines meet it: exit codes, streams, files and start-up."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from planner.cli import app
from tests.contract import EVERY_PLAN

SPEC: dict[str, Any] = {
    "name": "chat",
    "services": [{
        "name": "chat", "model": "meta-llama/Llama-3.1-8B-Instruct", "slo": {"ttft_ms": 2000, "tpot_ms": 100},
        "allow_roofline": True,
        "workload": {"buckets": [
            {"input_tokens": [1, 512], "output_tokens": [1, 256], "requests_per_s": 9},
            {"input_tokens": [513, 4096], "output_tokens": [1, 512], "requests_per_s": 3},
        ]},
    }],
    "offers": {"providers": ["aws"], "regions": ["us-east-1"]},
}  # fmt: skip
SERVING_PLAN = {
    "usd_per_hour", "power_w", "usd_per_million_tokens", "allocation", "routing", "baselines",
    "savings_vs_best_single_type", "explanation",
}  # fmt: skip
ALLOCATION = {"unit", "gpu", "gpus_per_replica", "role", "precision", "replicas", "usd_per_hour"}
ROUTE = {"service", "input_tokens", "output_tokens", "unit", "fraction"}


@pytest.fixture(scope="module")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the built-in catalogue, made once."""
    path = tmp_path_factory.mktemp("store") / "gpuplan.db"
    assert CliRunner().invoke(app, ["init", "--database", f"sqlite:///{path}"]).exit_code == 0
    return path


@pytest.fixture
def here(tmp_path: Path, initialised: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory to work in, with a store and a spec in the default places."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUPLAN_DATABASE_URL", raising=False)
    with closing(sqlite3.connect(initialised)) as made, closing(sqlite3.connect("gpuplan.db")) as store:
        made.backup(store)  # a copy of the file alone would lack what is still in its write-ahead log
    write_spec(tmp_path)
    return tmp_path


def write_spec(directory: Path, **changes: object) -> None:
    (directory / "spec.yaml").write_text(yaml.safe_dump({**SPEC, **changes}), encoding="utf-8")


def gpuplan(*words: str) -> Result:
    result: Result = CliRunner().invoke(app, list(words))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def fresh_process(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from planner.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


COMMANDS = [
    (), ("init",), ("plan",), ("plan", "serving"), ("check",), ("profiles",), ("profiles", "list"),
    ("profiles", "show"), ("profiles", "import"), ("profiles", "export"), ("profiles", "formats"),
    ("profiles", "measure"), ("profiles", "measure", "endpoint"), ("profiles", "measure", "gpu"),
    ("simulate",), ("validate",), ("plan", "experts"), ("plan", "training"), ("plan", "power"), ("render",),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    result = gpuplan(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


# ---------------------------------------------------------------- plans


def test_a_plan_for_people(here: Path) -> None:
    result = gpuplan("plan", "serving", "spec.yaml")
    assert result.exit_code == 0
    for said in ("chat: ", "an hour", "check passed", "Mix", "Routing by request size", "Against a single GPU type"):
        assert said in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


def test_a_plan_for_machines_has_the_keys_of_the_contract(here: Path) -> None:
    result = gpuplan("plan", "serving", "spec.yaml", "--json")
    assert result.exit_code == 0
    plan = json.loads(result.stdout)
    assert plan.keys() >= EVERY_PLAN | SERVING_PLAN
    assert (plan["kind"], plan["outcome"], plan["check"]) == ("serving", "optimal", {"passed": True, "violations": []})
    assert all(unit.keys() >= ALLOCATION for unit in plan["allocation"])
    assert all(route.keys() >= ROUTE for route in plan["routing"])
    assert all(baseline.keys() >= {"gpu", "usd_per_hour"} for baseline in plan["baselines"])
    assert plan["usd_per_hour"] == pytest.approx(sum(unit["usd_per_hour"] for unit in plan["allocation"]))


def test_the_same_request_gets_the_same_plan(here: Path) -> None:
    first, second = (json.loads(gpuplan("plan", "serving", "spec.yaml", "--json").stdout) for _ in range(2))
    assert {**first, "solve_seconds": 0} == {**second, "solve_seconds": 0}


def test_infeasible_is_an_answer_with_its_own_exit_code(here: Path) -> None:
    write_spec(here, limits={"budget_usd_per_hour": 0.1})
    people, machines = (gpuplan("plan", "serving", "spec.yaml", *words) for words in ((), ("--json",)))
    assert (people.exit_code, machines.exit_code) == (3, 3)
    assert "limits.budget_usd_per_hour" in people.stdout
    plan = json.loads(machines.stdout)
    assert plan.keys() >= EVERY_PLAN | SERVING_PLAN
    assert (plan["outcome"], plan["usd_per_hour"], plan["allocation"]) == ("infeasible", None, [])
    assert plan["conflicts"][0]["constraints"] == ["limits.budget_usd_per_hour"]


def test_a_model_that_was_not_measured_is_exit_code_5(here: Path) -> None:
    services = [{**SPEC["services"][0], "allow_roofline": False}]
    write_spec(here, services=services, offers={"gpus": ["T4"]})
    result = gpuplan("plan", "serving", "spec.yaml")
    assert result.exit_code == 5
    assert "allow_roofline: true" in result.stderr


def test_names_from_files_do_not_reach_the_terminal_as_commands(here: Path) -> None:
    services = [{**SPEC["services"][0], "name": "[red]x[/red] \x1b[2J\x07 $(reboot)"}]
    write_spec(here, services=services, name="[bold]y")
    result = gpuplan("plan", "serving", "spec.yaml")
    assert result.exit_code == 0
    assert "[red]x[/red]" in result.stdout
    assert "[bold]y: " in result.stdout
    assert not {"\x1b", "\x07"} & set(result.stdout)


def test_reasons_are_one_line_each_in_a_pipe(here: Path) -> None:
    lines = gpuplan("plan", "serving", "spec.yaml").stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("• "))
    assert all(line.startswith("• ") for line in lines[start:])


# ---------------------------------------------------------------- files written


def test_out_is_written_whole_and_checks(here: Path) -> None:
    assert gpuplan("plan", "serving", "spec.yaml", "--out", "new/plan.json").exit_code == 0
    plan = json.loads((here / "new/plan.json").read_text(encoding="utf-8"))
    assert plan["outcome"] == "optimal"
    assert [path.name for path in (here / "new").iterdir()] == ["plan.json"]
    result = gpuplan("check", "new/plan.json")
    assert (result.exit_code, "holds (optimal)" in result.stdout) == (0, True)


def test_out_keeps_the_old_plan_when_the_new_one_cannot_be_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    (here / "plan.json").write_text("the old plan", encoding="utf-8")
    before = sorted(path.name for path in here.iterdir())
    monkeypatch.setattr(Path, "write_text", full)
    result = gpuplan("plan", "serving", "spec.yaml", "--out", "plan.json")
    assert (result.exit_code, "No space left" in result.stderr) == (2, True)
    assert (here / "plan.json").read_bytes() == b"the old plan"
    assert [name for name in sorted(path.name for path in here.iterdir()) if "plan.db-" not in name] == before


@pytest.mark.parametrize("place", [".", "spec.yaml/plan.json", "/proc/none/plan.json"])
def test_out_to_a_place_that_cannot_be(here: Path, place: str) -> None:
    result = gpuplan("plan", "serving", "spec.yaml", "--out", place)
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr or "is a directory" in result.stderr


# ---------------------------------------------------------------- checking


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"usd_per_hour": 1}, "cost"),
        ({"routing": []}, "demand"),
        ({"allocation": []}, "demand"),
        ({"rentals": []}, "packing"),
        ({"outcome": "infeasible"}, "outcome"),
        ({"bound": 1e6}, "bound"),
    ],
)
def test_a_plan_that_was_changed_fails_its_check(here: Path, change: dict[str, Any], constraint: str) -> None:
    plan = json.loads(gpuplan("plan", "serving", "spec.yaml", "--json").stdout)
    (here / "plan.json").write_text(json.dumps({**plan, **change}), encoding="utf-8")
    result = gpuplan("check", "plan.json", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["passed"]) == (1, False)
    assert constraint in {violation["constraint"] for violation in found["violations"]}


def test_an_allocation_that_makes_no_sense_fails_its_check(here: Path) -> None:
    plan = json.loads(gpuplan("plan", "serving", "spec.yaml", "--json").stdout)
    for field, value in (("gpus_per_replica", 0), ("replicas", -1), ("replicas", 10**9), ("gpu", "none")):
        broken = {**plan, "allocation": [{**plan["allocation"][0], field: value}, *plan["allocation"][1:]]}
        (here / "plan.json").write_text(json.dumps(broken), encoding="utf-8")
        assert gpuplan("check", "plan.json").exit_code == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "is empty"), ("{}", "is not a plan"), ('{"kind": "x", "outcome": "optimal"}', "unknown planner 'x'")],
)
def test_checking_what_is_no_plan(here: Path, content: str, said: str) -> None:
    (here / "plan.json").write_text(content, encoding="utf-8")
    result = gpuplan("check", "plan.json")
    assert (result.exit_code, said in result.stderr) == (2, True)


# ---------------------------------------------------------------- errors


def test_errors_for_machines_are_problems_on_stderr(here: Path) -> None:
    write_spec(here, limits={"power_w": -1})
    result = gpuplan("plan", "serving", "spec.yaml", "--json")
    problem = json.loads(result.stderr)
    assert (result.exit_code, result.stdout, problem["status"]) == (2, "", 422)
    assert problem["field"] == "spec.yaml: limits.power_w"


@pytest.mark.parametrize(
    "words",
    [
        ("plam",), ("plan", "servng"), ("plan", "serving"), ("plan", "serving", "nope.yaml"),
        ("plan", "serving", "spec.yaml", "--time-limit", "0"), ("plan", "serving", "spec.yaml", "--time-limit", "nan"),
        ("plan", "serving", "spec.yaml", "--gap", "2"), ("plan", "serving", "spec.yaml", "--seed", "-1"),
        ("profiles", "list", "gpu"), ("profiles", "list", "gpus", "--gpu", "H1000"),
        ("profiles", "list", "measurements", "--model", "nope"), ("profiles", "show", "H1000"),
        ("profiles", "import", "nope", "spec.yaml"), ("profiles", "import", "vllm-bench", "spec.yaml"),
        ("profiles", "export", "x.txt"), ("profiles", "export", "/proc/none/x.json"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_exit_code_2_with_a_message(here: Path, words: tuple[str, ...]) -> None:
    result = gpuplan(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.strip()


# ---------------------------------------------------------------- the store


def test_init_is_idempotent(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    first, second = (json.loads(gpuplan("init", "--database", url, "--json").stdout)["changes"] for _ in range(2))
    assert all(counts["unchanged"] == 0 for counts in first.values())
    for kind, counts in second.items():
        assert counts == {"added": 0, "updated": 0, "unchanged": first[kind]["added"]}


def test_the_default_store_is_made_when_missing_but_a_named_one_is_not(here: Path) -> None:
    (here / "gpuplan.db").unlink()
    result = gpuplan("plan", "serving", "spec.yaml")
    assert (result.exit_code, "no profile store yet" in result.stderr) == (0, True)
    assert (here / "gpuplan.db").exists()
    result = gpuplan("plan", "serving", "spec.yaml", "--database", "sqlite:///other.db")
    assert (result.exit_code, "gpuplan init" in result.stderr) == (2, True)
    assert not (here / "other.db").exists()


def test_the_environment_names_the_store(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPLAN_DATABASE_URL", "sqlite:///other.db")
    assert gpuplan("profiles", "list").exit_code == 2
    assert gpuplan("profiles", "list", "--database", "sqlite:///gpuplan.db").exit_code == 0
    monkeypatch.setenv("GPUPLAN_DATABASE_URL", "")
    assert gpuplan("profiles", "list").exit_code == 0


def test_stores_that_cannot_be_used_say_why(here: Path) -> None:
    (here / "text.db").write_text("hello " * 1000, encoding="utf-8")
    content = bytearray((here / "gpuplan.db").read_bytes())
    content[4096 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4096)
    (here / "corrupt.db").write_bytes(content)
    shutil.copy("gpuplan.db", "newer.db")
    with closing(sqlite3.connect("newer.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for name, said in (("text", "is not a SQLite database"), ("corrupt", "is corrupt"), ("newer", "a newer version")):
        for words in (("plan", "serving", "spec.yaml"), ("init",), ("profiles", "list")):
            result = gpuplan(*words, "--database", f"sqlite:///{name}.db")
            assert (result.exit_code, said in result.stderr) == (2, True), (name, words, result.stderr)


def test_listing_and_showing(here: Path) -> None:
    gpus = json.loads(gpuplan("profiles", "list", "gpus", "--json").stdout)
    assert {"T4", "L4", "H100", "MI300X"} <= {gpu["name"] for gpu in gpus}
    measured = json.loads(gpuplan("profiles", "list", "measurements", "--gpu", "h100", "--json").stdout)
    assert {row["gpu"] for row in measured} == {"H100"}
    assert gpuplan("profiles", "show", "h100", "--json").exit_code == 0


def test_what_is_exported_can_be_imported(here: Path) -> None:
    assert gpuplan("profiles", "export", "all.json").exit_code == 0
    result = gpuplan("profiles", "import", "gpuplan", "all.json", "--json")
    assert result.exit_code == 0
    assert {(c["added"], c["updated"]) for c in json.loads(result.stdout)["changes"].values()} == {(0, 0)}


# ---------------------------------------------------------------- processes


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from planner.cli import app; "
        "CliRunner().invoke(app, ['--help']); "
        "print([m for m in ('pandas', 'scipy', 'highspy', 'ortools', 'sqlalchemy', 'alembic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_process_prints_no_colour_into_a_pipe_and_exits_with_the_code(here: Path) -> None:
    done = fresh_process("plan", "serving", "spec.yaml", TERM="xterm-256color")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    write_spec(here, limits={"budget_usd_per_hour": 0.1})
    assert fresh_process("plan", "serving", "spec.yaml").returncode == 3
    assert fresh_process("plan", "serving", "nope.yaml", NO_COLOR="1").returncode == 2


def test_many_violations_are_summed_up_for_people(here: Path) -> None:
    """After the store has changed, every route of an old plan is off: people need to hear that, not each number."""
    assert gpuplan("plan", "serving", "spec.yaml", "--out", "plan.json").exit_code == 0
    document = json.loads(Path("plan.json").read_text())
    document["profile_digest"] = "of another store"
    document["routing"] = [{**route, "tpot_ms": 1.0, "ttft_ms": 1.0} for route in document["routing"]] * 5
    Path("plan.json").write_text(json.dumps(document))
    result = gpuplan("check", "plan.json")
    assert result.exit_code == 1
    assert "the store has changed since this plan was made" in result.stdout
    assert "more: --json has all" in result.stdout
    assert len(result.stdout.splitlines()) < 20
