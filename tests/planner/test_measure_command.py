"""``gpuplan profiles measure``: what is wrong is said in one sentence with exit code 2, and what is right is stored."""

import importlib.util
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from planner.cli import app
from planner.measure_command import _conclude
from profiles import catalogue, db, store
from profiles.measure.journal import Journal
from profiles.names import KnownNames


@pytest.fixture
def database(sqlite_url: str) -> str:
    engine = db.initialise(sqlite_url)
    store.add(engine, catalogue.load())
    engine.dispose()
    return sqlite_url


def gpuplan(database: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["profiles", "measure", *arguments, "--database", database])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--input", "0"), "--input: must be 1 or more, not 0"),
        (("--output", "a,b"), "--output: must be whole numbers separated by commas"),
        (("--concurrency", "1,-8"), "--concurrency: must be 1 or more, not -8"),
        (("--concurrency", ""), "--concurrency: must be whole numbers"),
        (("--seconds", "0"), "--seconds: must be above zero"),
        (("--requests", "2"), "--requests: 2 requests never fill"),
        (("--gpu", "H9000"), "unknown GPU 'H9000'"),
        (("--precision", "fp3"), "--precision"),
        (("--ep", "3"), "3 does not divide"),
        (("--api-key-env", "NO_SUCH_KEY_HERE"), "NO_SUCH_KEY_HERE is not set"),
    ],
)
def test_options_of_an_endpoint_that_cannot_be_meant(database: str, arguments: tuple[str, ...], said: str) -> None:
    given = ("endpoint", "http://127.0.0.1:9", "--model", "m", *(() if "--gpu" in arguments else ("--gpu", "H100")))
    result = gpuplan(database, *given, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dance",), "unknown kind of sweep 'dance'"),
        (("decoder", "--model", "no/such-model"), "unknown model 'no/such-model'"),
        (("gemm", "--gpu", "H9000"), "unknown GPU"),
        (("decoder", "--batch", "0"), "--batch: must be 1 or more"),
    ],
)
def test_options_of_a_gpu_that_cannot_be_meant(database: str, arguments: tuple[str, ...], said: str) -> None:
    result = gpuplan(database, "gpu", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_without_torch_or_gpu_it_says_so(database: str, tmp_path: Path) -> None:
    result = gpuplan(database, "gpu", "gemm", "--out", str(tmp_path / "x.jsonl"), "--json")
    if result.exit_code == 0:
        pytest.skip("there is a GPU here")
    assert result.exit_code == 2
    problem = json.loads(result.stderr)
    wanted = "no CUDA GPU" if importlib.util.find_spec("torch") else "needs torch"
    assert wanted in problem["detail"]
    assert problem["fix"]
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_a_cpu_is_tried_and_nothing_is_stored(database: str, tmp_path: Path) -> None:
    out = tmp_path / "x.jsonl"
    result = gpuplan(database, "gpu", "gemm", "--device", "cpu", "--shapes", "2", "--largest", "64", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "4 now" in result.stdout
    assert "nothing stored" in result.stdout
    assert store.counts(db.connect(database))["gemms"] == 0


def test_what_was_measured_is_stored_once(database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = {"kind": "gemm", "device": "NVIDIA H100 80GB HBM3", "as_of": "2026-11-21", "software": "torch 2.11.0"}
    journal = Journal(tmp_path / "x.jsonl", run)
    journal.add({"m": 64, "n": 64, "k": 64, "precision": "fp8"}, {"time_us": 5.5})
    journal.close()
    engine = db.connect(database)
    known = KnownNames.of(store.snapshot(engine))
    outcome = {"num_resumed": 0, "num_measured": 1, "problems": ("one was too large",), "note": "no power"}
    for _ in range(2):
        _conclude(tmp_path / "x.jsonl", outcome, engine, known, True, gpu=None)
    assert store.counts(engine)["gemms"] == 1
    told = capsys.readouterr()
    assert '"stored": "gemms: 1 unchanged"' in told.out
    assert "one was too large" in told.err
    listed = CliRunner().invoke(app, ["profiles", "list", "gemms", "--database", database])
    assert "H100" in listed.stdout


def test_nothing_measured_is_no_success(database: str, tmp_path: Path) -> None:
    outcome = {"num_resumed": 0, "num_measured": 0, "problems": ("all failed",), "notes": ()}
    with pytest.raises(typer.Exit) as ended:
        _conclude(tmp_path / "x.jsonl", outcome, db.connect(database), KnownNames({}, {}), False)
    assert ended.value.exit_code == 1
