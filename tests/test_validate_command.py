"""``gpuplan validate`` as people and machines meet it."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from planner.cli import app

COLUMNS = (
    "model", "gpu_system", "engine", "precision", "tp", "input_tokens", "output_tokens", "concurrency", "ttft_ms",
    "tpot_ms",
)  # fmt: skip
GOOD: Mapping[str, object] = dict(
    zip(COLUMNS, ("Qwen/Qwen3-32B", "h100_sxm", "vllm", "bf16", 2, 1024, 256, 8, 101.5, 14.25), strict=True)
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with the built-in catalogue, made once."""
    url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'gpuplan.db'}"
    assert CliRunner().invoke(app, ["init", "--database", url]).exit_code == 0
    return url


@pytest.fixture(autouse=True)
def here(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in, and the store to work with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPUPLAN_DATABASE_URL", store)
    return tmp_path


def write(*changes: Mapping[str, object], name: str = "rows.csv") -> str:
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        lines = csv.DictWriter(file, COLUMNS)
        lines.writeheader()
        lines.writerows([{**GOOD, **change} for change in changes])
    return name


def gpuplan(*words: str) -> Result:
    result: Result = CliRunner().invoke(app, ["validate", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_json_is_the_whole_answer_on_stdout() -> None:
    result = gpuplan("serving", write({}, {"ttft_ms": "-1"}, {"tp": 4}), "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["rows"] == 2
    assert document["unpredicted"] == [{"row": 3, "reason": "ttft_ms: must be greater than 0, not '-1'"}]
    assert set(document["tpot_ms"]) == {"mape", "median_ape", "p90_ape", "coverage"}
    assert [row["row"] for row in document["predictions"]] == [2, 4]
    assert set(document["predictions"][0]["compared"]["tpot_ms"]) == {"predicted", "measured", "interval"}


def test_people_see_errors_groups_and_what_was_left_out() -> None:
    result = gpuplan("serving", write({}, {"ttft_ms": "-1"}, {"ttft_ms": 300}), "--hold-out", "random", "--seed", "3")
    assert result.exit_code == 0
    assert "rows.csv: 2 of 3 rows predicted in random folds of the file" in result.stdout
    for said in ("By origin", "By model and GPU", "By what was held out", "Farthest off", "Not predicted"):
        assert said in result.stdout
    assert "Contradictory: 1 point measured more than once" in result.stdout
    assert "must be greater than 0, not '-1'" in result.stdout


def test_names_from_a_file_cannot_move_the_cursor() -> None:
    result = gpuplan("serving", write({}, {"model": "\x1b[2Jevil"}))
    assert "\x1b" not in result.stdout
    assert "evil" in result.stdout


@pytest.mark.parametrize("words", [("--plot", "out/parity.html"), ("--plot", "out/parity.html", "--json")])
def test_the_plot_is_written(words: tuple[str, ...], here: Path) -> None:
    result = gpuplan("serving", write({}), *words)
    assert result.exit_code == 0
    assert (here / "out" / "parity.html").read_text().startswith("<!doctype html>")
    assert "out/parity.html" in result.stderr


def test_a_png_needs_matplotlib_and_says_so_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = gpuplan("serving", "no-such-file.csv", "--plot", "parity.png")
    assert result.exit_code == 2
    assert "needs matplotlib" in result.stderr
    assert "gpuplan[plot]" in result.stderr


def test_a_picture_of_another_kind_is_refused(here: Path) -> None:
    result = gpuplan("serving", write({}), "--plot", "parity.svg")
    assert result.exit_code == 2
    assert "must end in .html or .png" in result.stderr
    assert not (here / "parity.svg").exists()


def test_a_plot_that_cannot_be_written_is_bad_input(here: Path) -> None:
    (here / "file").write_text("")
    result = gpuplan("serving", write({}), "--plot", "file/parity.html")
    assert result.exit_code == 2
    assert "choose another --plot" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("servign", "rows.csv"), "did you mean serving"),
        (("serving", "none.csv"), "no such file"),
        (("serving", "rows.csv", "--hold-out", "lenghts"), "did you mean lengths"),
        (("power", "rows.csv"), "has no column"),
        (("serving", "empty.csv"), "is empty"),
        (("serving", "header.csv"), "no rows"),
    ],
)
def test_bad_input_is_exit_code_two(words: tuple[str, ...], said: str, here: Path) -> None:
    write({})
    write(name="header.csv")
    (here / "empty.csv").write_text("")
    result = gpuplan(*words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_nothing_known_of_any_row_is_a_missing_profile_and_still_told() -> None:
    result = gpuplan("serving", write({"model": "nobody/knows"}, {"model": "nobody/else"}), "--json")
    assert result.exit_code == 5
    document = json.loads(result.stdout)
    assert document["rows"] == 0
    assert [row["row"] for row in document["unpredicted"]] == [2, 3]
    assert document["ttft_ms"]["mape"] is None
    problem = json.loads(result.stderr)
    assert problem["title"] == "missing profile"
    assert "nobody/knows" in problem["detail"]


def test_a_file_of_bad_rows_alone_is_bad_input_and_still_told() -> None:
    result = gpuplan("serving", write({"ttft_ms": "-1"}, {"tpot_ms": "x"}), "--json")
    assert result.exit_code == 2
    assert [row["row"] for row in json.loads(result.stdout)["unpredicted"]] == [2, 3]
