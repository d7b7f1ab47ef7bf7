"""The service stops, or a worker of it dies: the page says so, or goes on as if nothing was."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import OpenPage, jobs_of, metric, running, wait_for_job

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect


@pytest.fixture
def port() -> int:
    """A free one, which a service that is started again takes again."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@pytest.fixture
def dashboard_url(port: int, tmp_path: Path) -> Iterator[str]:
    """A dashboard of a service that need not be there."""
    words = ("dashboard", "--port", "0", "--no-browser", "--api", f"http://127.0.0.1:{port}")
    with running(*words, folder=tmp_path) as found:
        yield found["url"]


def test_page_goes_on_when_the_service_is_back(
    dashboard_url: str, open_url: OpenPage, port: int, tmp_path: Path
) -> None:
    with running("serve", "--port", str(port), folder=tmp_path, GPUPLAN_LOG_LEVEL="warning"):
        page = open_url(f"{dashboard_url}/serving")
        cost = metric(page, "Cost").inner_text()
    page.get_by_label("Requests/s, exactly", exact=True).fill("60")
    page.get_by_label("Requests/s, exactly", exact=True).press("Enter")
    expect(page.get_by_text("The service cannot be reached.")).to_be_visible()
    expect(page.get_by_text("gpuplan serve")).to_be_visible()

    with running("serve", "--port", str(port), folder=tmp_path, GPUPLAN_LOG_LEVEL="warning"):
        expect(metric(page, "Cost")).not_to_have_text(cost)
        expect(page.get_by_text("The service cannot be reached.")).to_have_count(0)
        expect(page.get_by_label("Requests/s, exactly", exact=True)).to_have_value("60")


def test_worker_killed_during_a_plan(dashboard_url: str, open_url: OpenPage, port: int, tmp_path: Path) -> None:
    with running("serve", "--port", str(port), folder=tmp_path, GPUPLAN_LOG_LEVEL="warning") as service:
        page = open_url(f"{dashboard_url}/history")
        page.goto(f"{dashboard_url}/training")
        wait_for_job(service["url"], "running")
        for worker in children(service["pid"]):
            os.kill(worker, signal.SIGKILL)
        expect(metric(page, "Time to train")).to_be_visible()
        (job,) = jobs_of(service["url"])
        assert job["status"] == "done"
        assert job["attempts"] == 2


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for one in listed for child in one.read_text().split()]
