"""Measuring an endpoint: with GuideLLM itself where it is installed, and what comes before it everywhere."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from profiles import catalogue, ingest
from profiles.errors import InvalidInput
from profiles.measure import endpoint as measuring
from profiles.measure import journal, load
from profiles.measure.endpoint import Grid, run
from profiles.measure.target import Target
from profiles.names import KnownNames
from tests.profiles.measure.conftest import MODEL, Endpoint

KNOWN = KnownNames.of(catalogue.load())
SERVED: dict[str, Any] = {
    "model": MODEL, "gpu": "H100", "tp": 1, "pp": 1, "dp": 1, "ep": 1, "precision": "bf16", "engine": "vllm",
    "engine_version": "",
}  # fmt: skip
Eventually = Callable[[Callable[[], bool]], None]

needs_guidellm = pytest.mark.skipif(
    importlib.util.find_spec("guidellm") is None, reason="GuideLLM is not installed (pip install 'gpuplan[measure]')"
)


def quiet(line: str) -> None:
    """Told of progress, says nothing."""


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"input_tokens": (0,)}, "--input"), ({"output_tokens": (-1,)}, "--output"),
        ({"concurrency": ()}, "--concurrency"),
        ({"seconds": 0.0}, "--seconds"), ({"seconds": float("nan")}, "--seconds"), ({"num_requests": 0}, "--requests"),
        ({"num_requests": 3}, "--requests"), ({"input_tokens": (10**9,)}, "--input"),
    ],
)  # fmt: skip
def test_grids_that_cannot_be_meant(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        Grid(**{"input_tokens": (8,), "output_tokens": (8,), "concurrency": (4,)} | changes)
    assert error.value.field == field


def test_a_grid_is_every_combination_once() -> None:
    loads = Grid((1, 2), (3,), (1, 100)).loads()
    assert [(p.input_tokens, p.output_tokens, p.concurrency) for p in loads] == [
        (1, 3, 1),
        (1, 3, 100),
        (2, 3, 1),
        (2, 3, 100),
    ]
    assert [p.num_requests for p in loads] == [20, 500, 20, 500]


def test_prompts_have_the_size_asked_for_and_share_no_prefix() -> None:
    prompts = [row["prompt"].split() for row in load._prompts(load.Load(64, 8, 4, 50, 10))]
    assert {len(words) for words in prompts} == {64}
    assert len({tuple(words[:16]) for words in prompts}) == 50


def test_without_guidellm_one_sentence_names_the_extra(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match="needs GuideLLM") as error:
        run(Target(endpoint.url, MODEL), Grid((8,), (8,), (1,)), SERVED, KNOWN, tmp_path / "run.jsonl", quiet)
    assert "gpuplan[measure]" in str(error.value)
    assert not (tmp_path / "run.jsonl").exists()


def test_as_many_gpus_as_serve(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "version", lambda: "0.8")
    with pytest.raises(InvalidInput, match="2 GPUs named, 1 serve"):
        run(
            Target(endpoint.url, MODEL), Grid((8,), (8,), (1,)), SERVED, KNOWN, tmp_path / "j.jsonl", quiet, nvml=(0, 1)
        )


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        ({"successful": 0, "errored": 7, "incomplete": 0}, "no request succeeded: 7 failed"),
        ({"successful": 0, "errored": 0, "incomplete": 4}, "4 unfinished after 10 s"),
        ({"successful": 90, "errored": 10, "incomplete": 0}, "10 of 100 requests failed"),
        ({"successful": 3, "errored": 0, "incomplete": 4}, "only 3 requests finished"),
        ({}, "no request succeeded"),
    ],
)
def test_points_that_are_not_kept(totals: dict[str, int], said: str) -> None:
    with pytest.raises(load.LoadFailed, match=said):
        measuring._refuse_failures(totals, load.Load(8, 8, 4, 100, 10))


def test_a_rare_failure_is_no_reason() -> None:
    measuring._refuse_failures({"successful": 999, "errored": 1}, load.Load(8, 8, 4, 1000, 10))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"benchmarks": []}', '{"benchmarks": [{"metrics": 1}]}'])
def test_a_report_of_no_use_is_a_failed_point(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(load.LoadFailed, match="of no use"):
        measuring._totals(tmp_path / "report.json")


def measured(endpoint: Endpoint, out: Path, seconds: float = 60.0, key: str | None = None) -> measuring.Outcome:
    grid = Grid((16,), (8,), (1, 2), num_requests=4, seconds=seconds)
    return run(Target(endpoint.url, MODEL, key), grid, SERVED, KNOWN, out, quiet)


@needs_guidellm
def test_a_run_is_measured_imported_and_not_repeated(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.key = "sk-very-secret"
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    out = tmp_path / "run.jsonl"
    outcome = measured(endpoint, out, key="MY_KEY")
    assert (outcome.num_measured, outcome.problems) == (2, ())
    assert "no power" in outcome.notes[0]
    assert endpoint.keys_seen == {"Bearer sk-very-secret"}
    assert "secret" not in out.read_text()
    points = ingest.read("gpuplan-journal", out, KNOWN).batch.measurements
    assert sorted(point.concurrency or 0 for point in points) == [1, 2]
    assert {(p.input_tokens, p.output_tokens, p.load, p.layout.label) for p in points} == {
        (16, 8, "closed_loop", "H100 ×1 bf16 vllm")
    }
    assert all(point.tpot_ms and 1 < point.tpot_ms < 1000 for point in points)
    chats = endpoint.num_chats
    assert chats >= 8
    again = measured(endpoint, out, key="MY_KEY")
    assert (again.num_resumed, again.num_measured, endpoint.num_chats) == (2, 0, chats)


@needs_guidellm
@pytest.mark.parametrize(("chat", "said"), [("error", "no request succeeded"), ("hang", "unfinished"), ("nothing", "")])
def test_an_endpoint_that_does_not_work_gives_problems_and_no_points(
    endpoint: Endpoint, tmp_path: Path, chat: str, said: str
) -> None:
    endpoint.chat = chat
    outcome = measured(endpoint, tmp_path / "run.jsonl", seconds=3.0)
    assert outcome.num_measured == 0
    assert len(outcome.problems) == 2
    assert all(said in problem for problem in outcome.problems)
    with pytest.raises(InvalidInput, match="holds no measured point"):
        ingest.read("gpuplan-journal", tmp_path / "run.jsonl", KNOWN)


@needs_guidellm
def test_a_load_that_never_ends_is_ended(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    endpoint.chat = "hang"
    monkeypatch.setattr(load, "GRACE_S", 0.5)
    outcome = measured(endpoint, tmp_path / "run.jsonl", seconds=1.0)
    assert all("ended" in problem for problem in outcome.problems)
    eventually(lambda: not _processes_with(str(endpoint.url)))


@needs_guidellm
def test_killed_in_the_middle_it_resumes_with_what_is_missing(
    endpoint: Endpoint, tmp_path: Path, eventually: Eventually
) -> None:
    out = tmp_path / "run.jsonl"
    code = (
        "import sys; from pathlib import Path; from tests.profiles.measure.test_endpoint import *; "
        "run(Target(sys.argv[1], MODEL), Grid((16,), (8,), (1, 2, 4), num_requests=4, seconds=60), SERVED, KNOWN, "
        "Path(sys.argv[2]), quiet)"
    )
    root = Path(__file__).parents[3]
    process = subprocess.Popen([sys.executable, "-c", code, endpoint.url, str(out)], cwd=root)
    eventually(lambda: out.exists() and len(out.read_text().splitlines()) >= 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    finished = sum("result" in line for line in journal.read(out)[1:])
    assert 1 <= finished < 3
    grid = Grid((16,), (8,), (1, 2, 4), num_requests=4, seconds=60)
    outcome = run(Target(endpoint.url, MODEL), grid, SERVED, KNOWN, out, quiet)
    assert (outcome.num_resumed, outcome.num_measured) == (finished, 3 - finished)


def _processes_with(text: str) -> list[str]:
    """Command lines and scenario files of load generators that run against ``text``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().decode().split("\0")
            scenario = next((a for a in arguments if a.endswith("scenario.json")), None)
            if scenario and text in Path(scenario).read_text():
                found.append(" ".join(arguments))
        except OSError:
            continue
    return found


@pytest.fixture
def mock_server() -> Iterator[str]:
    """GuideLLM's own mock server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "guidellm", "mock-server", "--port", str(port), "--model", "mock",
               "--ttft-ms", "40", "--itl-ms", "10"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(60)


@needs_guidellm
def test_guidellms_mock_server_is_measured_as_it_was_set(
    mock_server: str, tmp_path: Path, eventually: Eventually
) -> None:
    def up() -> bool:
        try:
            Target(mock_server, "mock").greet()
        except InvalidInput:
            return False
        return True

    eventually(up)
    out = tmp_path / "run.jsonl"
    run(Target(mock_server, "mock"), Grid((32,), (16,), (1,), 5, 60), SERVED, KNOWN, out, quiet)
    (point,) = [line["result"] for line in journal.read(out)[1:]]
    assert point["output_tokens"] == 16
    assert 40 <= point["ttft_ms"] < 400
    assert 10 <= point["tpot_ms"] < 100
    assert json.loads(out.read_text().splitlines()[0])["run"]["software"].startswith("GuideLLM 0.")
