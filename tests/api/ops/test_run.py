"""``gpuplan serve`` and ``gpuplan worker`` as real processes: starting, refusing, stopping, and what they let out."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
import yaml
from sqlalchemy import make_url
from typer.testing import CliRunner

from api import commands
from api.access import keys_store
from api.jobs import queue
from api.ops import metrics  # noqa: F401 - before a command of this process shares it with others
from planner.command import initialise_store
from planner.registry import planner_for
from profiles import db

PROGRAM = "import typer; from api.commands import register; app = typer.Typer(); register(app); app()"
ROOT = Path(__file__).parents[3]
CHAT = yaml.safe_load((ROOT / "examples/chat.yaml").read_text())
POWER = planner_for("power").load([ROOT / "examples/power.yaml"], {}).model_dump(mode="json")


class Running:
    """A command that runs: the JSON that it announced itself with, and what it has logged."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        text = ""
        for line in lines:
            text += line
            if line == "}\n":
                break
        assert text, log.read_text()
        self.said: dict[str, Any] = json.loads(text)
        self._log = log

    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(40)


@contextlib.contextmanager
def _running(folder: Path, *arguments: str, **variables: str) -> Iterator[Running]:
    log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments, "--json"], cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=errors, env={**os.environ, **variables},
        )  # fmt: skip
    try:
        yield Running(process, log)
    finally:
        process.kill()
        process.communicate()


def _eventually(condition: Callable[[], Any], within_s: float = 40.0) -> Any:
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {within_s} s")


@pytest.fixture
def store(sqlite_url: str) -> str:
    """The URL of a store with the catalogue."""
    initialise_store(sqlite_url)[0].dispose()
    return sqlite_url


def _refused(*arguments: str) -> str:
    app = typer.Typer()
    commands.register(app)
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 2
    return result.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - to be refused
def test_nothing_listens_beyond_loopback_while_there_is_no_key(store: str, host: str) -> None:
    problem = json.loads(_refused("serve", "--host", host, "--port", "0", "--database", store))
    assert (problem["field"], problem["fix"]) == ("--host", "make one first: gpuplan keys create NAME --scope admin")
    engine = db.connect(store)
    key, _ = keys_store.create(engine, "ann", ["admin"], None)
    keys_store.revoke(engine, key.id)
    assert "--host" in _refused("serve", "--host", host, "--port", "0", "--database", store), "a revoked key is none"


def test_a_port_in_use(store: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        problem = json.loads(_refused("serve", "--port", port, "--database", store))
        assert problem["field"] == "--port"
        assert "any free one" in problem["fix"]
        assert "--metrics-port" in _refused("worker", "--metrics-port", port, "--database", store)


def test_addresses_that_are_none(store: str) -> None:
    for host in ("no.such.host.invalid", "192.0.2.1", "", "a" * 300, "127.0.0.1;x"):
        assert '"--' in _refused("serve", "--host", host, "--port", "0", "--database", store)


def test_certificates_that_cannot_be_used(store: str, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for key in ("bad.pem", "missing.pem"):
        files = ("--tls-certificate", str(tmp_path / "bad.pem"), "--tls-key", str(tmp_path / key))
        assert "--tls-certificate" in _refused("serve", "--port", "0", "--database", store, *files)
    assert "give both" in _refused("serve", "--tls-key", str(tmp_path / "bad.pem"), "--database", store)


def test_settings_that_cannot_be_read(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPLAN_LEASE_S", "soon")
    assert "GPUPLAN_LEASE_S" in _refused("serve", "--database", store)


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    assert "no profile store" in _refused("serve", "--port", "0", "--database", f"sqlite:///{tmp_path}/missing.db")


def test_a_server_with_a_key_on_postgresql_lets_no_secret_out(postgresql_url: str, tmp_path: Path) -> None:
    """One life: a worker elsewhere, plans, refusals, metrics; then everything that was let out is searched."""
    url = make_url(postgresql_url).set(password="s3cr3t/of:db").render_as_string(hide_password=False)  # noqa: S106
    engine, _ = initialise_store(postgresql_url)
    _, key = keys_store.create(engine, "ann", ["plan", "read"], None)
    header = {"Authorization": f"Bearer {key}"}
    serve = ("serve", "--port", "0", "--workers", "0", "--require-key", "--metrics-port", "0")
    with (
        _running(tmp_path, *serve, GPUPLAN_DATABASE_URL=url, GPUPLAN_LOG_LEVEL="debug") as server,
        httpx.Client(base_url=server.said["url"], timeout=60) as client,
    ):
        assert server.said["needs_key"] is True
        assert client.get("/readyz").json() == {"ready": False, "store": "ok", "workers": "none"}
        with _running(tmp_path, "worker", "--metrics-port", "0", GPUPLAN_DATABASE_URL=url) as worker:
            _eventually(lambda: client.get("/readyz").status_code == 200)
            answers = [
                client.post(
                    "/v1/plans", json={"kind": "serving", "spec": CHAT}, headers=header | {"Prefer": "wait=50"}
                ),
                client.get("/v1/plans", headers=header),
                client.get("/v1/plans"),
                client.get("/v1/plans", headers={"Authorization": f"Bearer {key[:-1]}x"}),
                client.get(f"/v1/plans/{key}", headers=header),
                client.post("/v1/plans", json={"kind": key, "spec": {}}, headers=header),
                client.get("/metrics", headers=header),
            ]
            assert [answer.status_code for answer in answers] == [201, 200, 401, 401, 422, 422, 200]
            theirs = httpx.get(worker.said["metrics"]).text
            ours = httpx.get(server.said["metrics"]).text
            assert 'gpuplan_jobs_ended_total{kind="plan",state="done"} 1.0' in theirs
            assert 'gpuplan_solve_seconds_count{kind="serving",outcome="optimal"} 1.0' in theirs
            assert 'gpuplan_http_requests_total{method="POST",route="/v1/plans",status="201"} 1.0' in ours
            assert "gpuplan_workers 1.0" in ours
            assert worker.end() == 0
        assert _eventually(lambda: client.get("/readyz").status_code == 503)
        used = _eventually(lambda: keys_store.keys(engine)[0].last_used_at)
        assert used is not None
        assert server.end() == 0
        logged = server.log() + worker.log()
    for line in logged.splitlines():
        assert json.loads(line)["event"]
    assert '"path": "/v1/plans", "status": 201' in logged
    secret = key.rpartition("_")[2]
    # A caller who puts a key where none belongs gets it back in the answer, but nobody else sees it.
    let_out = logged + ours + theirs + "".join(answer.text for answer in answers if key not in str(answer.request.url))
    for hidden in (secret, "s3cr3t", "of:db"):
        assert hidden not in let_out.replace(f'"{key}"', "")
    engine.dispose()


def test_workers_beside_the_server_count_with_it(store: str, tmp_path: Path) -> None:
    with (
        _running(
            tmp_path, "serve", "--port", "0", "--workers", "1", "--database", store, GPUPLAN_SHUTDOWN_S="0.5"
        ) as server,
        httpx.Client(base_url=server.said["url"], timeout=60) as client,
    ):
        body = {"kind": "serving", "spec": CHAT}
        assert client.post("/v1/plans", json=body, headers={"Prefer": "wait=50"}).status_code == 201
        assert 'gpuplan_jobs_ended_total{kind="plan",state="done"} 1.0' in client.get("/metrics").text
        # A running job gets its time; when that is over it is queued again and no attempt is counted.
        answer = client.post("/v1/plans", json={"kind": "power", "spec": POWER}, headers={"Prefer": "respond-async"})
        job_id = answer.json()["id"]
        engine = db.connect(store)
        _eventually(lambda: queue.job(engine, job_id).state == "running")
        server.process.send_signal(signal.SIGTERM)
        begun_s = time.monotonic()
        assert server.process.wait(40) == 0
        assert time.monotonic() - begun_s < 30
        ended = queue.job(engine, job_id)
        assert (ended.state, ended.attempts) == ("queued", 0)
        with pytest.raises(httpx.ConnectError):
            client.get("/healthz")
        engine.dispose()


def test_interrupting_ends_a_server_at_once_and_cleanly(store: str, tmp_path: Path) -> None:
    with _running(tmp_path, "serve", "--port", "0", "--workers", "0", "--database", store) as server:
        assert httpx.get(server.said["url"] + "/healthz", timeout=60).status_code == 200  # it may still be starting
        assert httpx.get(server.said["url"] + "/healthz", headers={"Host": "evil.example"}).status_code == 421
        assert server.end(signal.SIGINT) == 0
        assert "Traceback" not in server.log()
