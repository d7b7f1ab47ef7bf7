"""The rendered controller against a server that answers like Prometheus, with a clock of the test's own."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from planner.power.policy import Policy, one_threshold, polca
from planner.render.power import RENDERERS
from tests.planner.power.plans import row_plan
from tests.planner.power.reference import next_step


class Prometheus(ThreadingHTTPServer):
    """Answers every query with ``power_w``; None is an empty answer, a text is sent as it is with status 500."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.power_w: float | str | None = None
        self.queries: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Prometheus

    def do_GET(self) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        self.server.queries += query["query"]
        watts = self.server.power_w
        result = [] if watts is None else [{"metric": {"row": "row"}, "value": [1.0, str(watts)]}]
        body = watts if isinstance(watts, str) else json.dumps({"status": "success", "data": {"result": result}})
        self.send_response(500 if isinstance(watts, str) else 200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Silence."""


@pytest.fixture(scope="module")
def server() -> Iterator[Prometheus]:
    with Prometheus() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return RENDERERS["controller"].render(row_plan())


@pytest.fixture(scope="module")
def controller(files, tmp_path_factory) -> ModuleType:
    """The rendered file, as a module."""
    path = tmp_path_factory.mktemp("controller") / "row_controller.py"
    path.write_text(files["row_controller.py"])
    spec = importlib.util.spec_from_file_location("row_controller", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["row_controller"] = module
    spec.loader.exec_module(module)
    return module


class Over(Exception):
    """The test's readings have all been used."""


def followed(
    controller: ModuleType, server: Prometheus, policy: dict[str, Any], shares: list[float | str | None],
    command: list[str] | None = None,
) -> list[dict[str, str]]:  # fmt: skip
    """What every class was told after each of ``shares`` of the budget, one a telemetry interval."""
    servers, now_s, told = controller.Servers(policy, command), [0.0], []
    left = iter(shares)

    def offer() -> None:
        try:
            share = next(left)
        except StopIteration:
            raise Over from None
        server.power_w = share * policy["budget_w"] if isinstance(share, float) else share

    def sleep(seconds: float) -> None:
        now_s[0] += seconds
        told.append(dict(servers.told))
        offer()

    offer()
    read = lambda: controller.read_power_w(server.url, policy["telemetry"]["query"], 5.0)  # noqa: E731
    with pytest.raises(Over):
        controller.follow(policy, read, servers, clock=lambda: now_s[0], sleep=sleep)
    return told


def states(told: list[dict[str, str]]) -> list[str]:
    """The state of the class low, which every step and the brake change."""
    return [each["low"] for each in told]


CALM = [0.5] * 30
"""From the topmost step, where it starts, down to none, until no older command is still to come into force."""


def test_it_climbs_waits_and_releases_as_the_policy_says(controller, server, files):
    policy = json.loads(files["policy.json"])
    # 40 s of latency are 20 readings: the third step has to wait until the second is in force.
    told = followed(controller, server, policy, [*CALM, 0.82, *[0.90] * 25, *[0.86] * 3, *[0.80] * 3, 0.7, 0.7])
    expected = ["step-2", "step-1", *["free"] * 28, "step-1", *["step-2"] * 20, *["step-3"] * 8, "step-2", "step-1",
                "step-1", "free", "free"]  # fmt: skip
    # A class is told when its own caps change: names of states with the same caps mean the same.
    assert [policy["caps"][each["low"]]["low"] for each in told] == [policy["caps"][name]["low"] for name in expected]
    assert [policy["caps"][each["high"]]["high"] for each in told] == [policy["caps"][n]["high"] for n in expected]
    assert server.queries[-1] == policy["telemetry"]["query"]


def test_it_decides_as_the_simulated_controller_does(controller):
    """Random readings through every rule of the ladder, against the definition in the tests of the simulation."""
    rng = np.random.Generator(np.random.PCG64(0))
    for ladder in (polca("low", "high"), one_threshold(("low", "high"))):
        policy = document(ladder)
        state, now_s, history, braking = controller.start(policy, 0.0), 0.0, [(0.0, len(ladder.steps))], False
        level = 0.8
        for _ in range(3000):
            now_s += 2.0
            level = float(np.clip(level + rng.normal(0, 0.02), 0.6, 1.1))
            in_force = ([step for told_s, step in history if told_s + 40 <= now_s] or [0])[-1]
            told = next_step(ladder, history[-1][1], in_force, level)
            if told != history[-1][1]:
                history.append((now_s, told))
            braking = level > ladder.brake_at or (braking and not level < ladder.brake_release)
            state = controller.after(policy, state, level * policy["budget_w"], now_s)
            assert (state.told, state.braking) == (told, braking)


def document(ladder: Policy) -> dict[str, Any]:
    return json.loads(RENDERERS["policy"].render(row_plan().model_copy(update={"policy": ladder}))["policy.json"])


def test_without_telemetry_it_keeps_what_it_told_and_then_takes_the_topmost_step(controller, server, files):
    policy = json.loads(files["policy.json"])
    gap: list[float | str | None] = [None, "not json", None, None, None, None, None]  # 2 s each; the timeout is 10 s
    told = states(followed(controller, server, policy, [*CALM, 0.5, *gap, 0.5, 0.5, 0.5]))
    assert told[30:36] == ["free"] * 6
    assert told[36:] == ["step-3", "step-3", "step-3", "step-1", "free"]  # low has the same caps in step-2


def test_it_brakes_above_the_budget_and_lets_go_below_the_release(controller, server, files):
    policy = json.loads(files["policy.json"])
    told = states(followed(controller, server, policy, [*CALM, 1.01, 0.95, 0.86, 0.83, 0.83]))
    assert told[30:33] == ["brake"] * 3
    assert "brake" not in told[33:]


def test_it_only_logs_unless_told_to_act(controller, server, files, caplog):
    policy = json.loads(files["policy.json"])
    caplog.set_level(logging.INFO)
    followed(controller, server, policy, [*CALM, 0.82])
    assert "would set low to step-1: clock_mhz=1275" in caplog.text
    assert "would set low to free: no cap" in caplog.text


def test_it_runs_its_command_and_again_where_it_failed(controller, server, files, tmp_path):
    policy = json.loads(files["policy.json"])
    log = tmp_path / "log"
    script = tmp_path / "apply.sh"
    mended = tmp_path / "mended"
    script.write_text(f'echo "$1 $2" >> {log}; [[ $1 != step-1 || -e {mended} ]] || {{ touch {mended}; exit 1; }}')
    servers = controller.Servers(policy, ["bash", str(script)])

    def told(state: str, now_s: float) -> None:
        servers.tell(state, now_s)
        for _, _, process in servers.running.values():
            process.wait(timeout=20)

    for now_s, state in enumerate(["free", "step-1", "step-1", "step-1", "step-1"]):
        told(state, float(now_s))
    assert servers.told["low"] == "step-1"
    assert sorted(log.read_text().splitlines()) == ["free high", "free low", "step-1 low", "step-1 low"]


def test_a_command_that_hangs_or_is_outdated_is_stopped(controller, files):
    policy = json.loads(files["policy.json"])
    servers = controller.Servers(policy, ["bash", "-c", "sleep 60"])

    def running() -> dict[str, subprocess.Popen[bytes]]:
        return {name: process for name, (_, _, process) in servers.running.items()}

    servers.tell("free", 0.0)
    first = running()
    servers.tell("free", 1.0)
    assert running() == first
    servers.tell("step-1", 2.0)  # other caps for low, the same for high
    second = running()
    assert second["high"] is first["high"]
    assert first["low"].poll() is not None
    servers.command = ["true"]
    servers.tell("step-1", 3.0 + controller.COMMAND_TIMEOUT_S)
    assert all(process.poll() is not None for process in second.values())
    for process in running().values():
        process.wait(timeout=20)
    servers.tell("step-1", 4.0 + controller.COMMAND_TIMEOUT_S)
    assert set(servers.told) == {"low", "high"}
    assert not servers.running


def test_it_starts_as_a_program_and_refuses_what_it_cannot_use(files, server, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    start = [sys.executable, str(tmp_path / "row_controller.py"), "--policy", str(tmp_path / "policy.json")]
    server.power_w = 1000.0
    with subprocess.Popen([*start, "--prometheus", server.url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.terminate()
    assert "row row, 3 steps, budget 65,000 W; only logging" in lines[0]
    assert "would set low to step-3" in lines[1]
    for wrong in (["--prometheus", "ftp://x"], ["--prometheus", server.url, "--policy", str(tmp_path / "none.json")],
                  ["--prometheus", server.url, "--policy", str(tmp_path / "row_controller.py")]):  # fmt: skip
        found = subprocess.run([*start, *wrong], capture_output=True, text=True, check=False)
        assert found.returncode == 2
        assert "error:" in found.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(files, tmp_path):
    unit = tmp_path / "gpuplan-row-controller.service"
    unit.write_text(files[unit.name])
    found = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert not found.stderr
