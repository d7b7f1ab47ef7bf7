"""``gpuplan dashboard`` as real processes: starting, refusing, and ending everything that it started."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from planner import dashboard_command
from planner.cli import app
from planner.command import initialise_store

pytest.importorskip("streamlit")


@pytest.fixture
def store(sqlite_url: str) -> str:
    """The URL of a store with the catalogue."""
    initialise_store(sqlite_url)[0].dispose()
    return sqlite_url


@contextlib.contextmanager
def running(folder: Path, *words: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The command on a free port, and what it announced when it answered."""
    program = [sys.executable, "-m", "planner.cli", "dashboard", "--port", "0", "--no-browser", "--json", *words]
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(
            program, text=True, stdout=subprocess.PIPE, stderr=errors, cwd=folder,
            env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    try:
        assert process.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = process.stdout.readline()
            assert line, (folder / "stderr").read_text()
            said += line
        yield process, json.loads(said)
    finally:
        process.terminate()
        process.communicate(timeout=40)


def children_of(pid: int) -> list[int]:
    """Every process below ``pid``, as the kernel lists them."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *children_of(child)]
    return found


def ended(pids: list[int], within_s: float = 10.0) -> bool:
    end_s = time.monotonic() + within_s
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > end_s:
            return False
        time.sleep(0.05)
    return True


def refused(*words: str) -> dict[str, Any]:
    result: Result = CliRunner().invoke(app, ["dashboard", "--no-browser", "--json", *words])
    assert result.exit_code == 2, result.output
    problem: dict[str, Any] = json.loads(result.stderr)
    return problem


def test_both_answer_and_a_signal_ends_both(store: str, tmp_path: Path) -> None:
    with running(tmp_path, "--database", store) as (process, said):
        assert httpx.get(f"{said['url']}/_stcore/health").text == "ok"
        assert httpx.get(f"{said['api']}/v1/plans").status_code == 200
        below = children_of(process.pid)
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in below}
        (streamlit,) = [pid for pid, words in commands.items() if "streamlit" in words]
        environment = Path(f"/proc/{streamlit}/environ").read_text().split("\0")
        assert f"GPUPLAN_API_URL={said['api']}" in environment
        assert store not in "".join(environment), "the dashboard needs no way into the store"
        assert all(store not in words for words in commands.values()), "it may hold a password"
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
        assert len(below) >= 3, "the service, its worker, the dashboard"
        assert ended(below)


def test_the_death_of_one_ends_the_other(store: str, tmp_path: Path) -> None:
    with running(tmp_path, GPUPLAN_DATABASE_URL=store, GPUPLAN_WORKERS="0") as (process, _):
        below = children_of(process.pid)
        (service,) = [pid for pid in below if "serve" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]
        os.kill(service, signal.SIGKILL)
        assert process.wait(40) == 1
        assert "the service ended by itself (SIGKILL)" in (tmp_path / "stderr").read_text()
        assert ended(below)


def test_a_killed_command_leaves_nothing_running(store: str, tmp_path: Path) -> None:
    with running(tmp_path, "--database", store) as (process, _):
        below = children_of(process.pid)
        process.kill()
        process.wait()
        assert len(below) >= 3, "the service, its worker, the dashboard"
        assert ended(below, within_s=20)


def test_a_service_that_cannot_start_ends_it_with_its_own_words(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "planner.cli", "dashboard", "--port", "0", "--no-browser"]
    missing = ("--database", f"sqlite:///{tmp_path}/missing.db")
    done = subprocess.run([*program, *missing], capture_output=True, text=True, check=False)
    assert (done.returncode, "there is no profile store" in done.stderr) == (2, True)


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        problem = refused("--port", str(taken.getsockname()[1]))
    assert (problem["field"], "another --port" in problem["fix"]) == ("--port", True)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "a" * 300])
def test_an_address_that_is_none(host: str) -> None:
    assert refused("--host", host)["field"] in ("--host", "--port")


def test_without_its_packages_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_command, "find_spec", lambda name: None)
    assert refused()["fix"] == "pip install 'gpuplan[dashboard]'"


class _Service(http.server.BaseHTTPRequestHandler):
    """Answers everything with the status of its class, and logs nothing."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def service_that_answers(status: int) -> Iterator[str]:
    handler = type("Handler", (_Service,), {"status": status})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


ANYWHERE = ("--host", "0.0.0.0", "--port", "0")  # noqa: S104 - to be refused, or never started


def test_beyond_loopback_a_service_that_lets_this_machine_in_is_refused() -> None:
    with service_that_answers(200) as url:
        problem = refused(*ANYWHERE, "--api", url)
    assert (problem["field"], "--require-key" in problem["fix"]) == ("--api", True)
    assert refused(*ANYWHERE, "--api", url)["detail"].startswith("cannot be reached"), "it is gone now"


def test_beyond_loopback_there_must_be_keys(store: str) -> None:
    program = [sys.executable, "-m", "planner.cli", "dashboard", *ANYWHERE, "--no-browser", "--database", store]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, "gpuplan keys create" in done.stderr) == (2, True)


@pytest.mark.parametrize(("host", "passed_on"), [("127.0.0.1", True), ("0.0.0.0", False)])  # noqa: S104 - not started
def test_a_key_of_the_environment_is_for_loopback_only(
    host: str, passed_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: dict[str, Any] = {}

    def not_started(words: list[str], environment: dict[str, str], stdout: int) -> Any:
        started.update(words=words, environment=environment)
        raise KeyboardInterrupt

    monkeypatch.setattr(dashboard_command, "_child", not_started)
    monkeypatch.setenv("GPUPLAN_API_KEY", "gp_key")
    with service_that_answers(401) as url:
        result = CliRunner().invoke(app, ["dashboard", "--no-browser", "--host", host, "--port", "0", "--api", url])
    assert result.exit_code == 0, result.output
    assert ("GPUPLAN_API_KEY" in started["environment"]) is passed_on
    assert started["environment"]["GPUPLAN_API_URL"] == url
    assert ("--server.allowedHosts=localhost" in started["words"]) is passed_on
