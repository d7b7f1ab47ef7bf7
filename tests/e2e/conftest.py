"""A real browser on a real dashboard with a real service, as ``gpuplan dashboard`` runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

sync_api = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""Installed ones, by the names that distributions give them; else the one that Playwright has fetched."""

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip

WIDTHS_PX = {"desk": 1280, "phone": 390}

PATIENCE_MS = 30_000
"""For anything to appear: machines that run tests are busy."""

sync_api.expect.set_options(timeout=PATIENCE_MS)

OpenPage = Callable[..., Any]


def run_gpuplan(*words: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """A ``gpuplan`` process whose store is in a folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GPUPLAN_")}
    command = [sys.executable, "-m", "planner.cli", *words]
    return subprocess.Popen(command, cwd=folder, env={**inherited, **environment, "PYTHONPATH": str(Path.cwd())},
                            stdout=subprocess.PIPE, text=True)  # fmt: skip


def announced(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a process started with ``--json`` says of itself."""
    text = ""
    for line in process.stdout or ():
        text += line
        if line == "}\n":
            document: dict[str, Any] = json.loads(text)
            return document
    raise AssertionError(f"it ended with exit code {process.wait()}: {text}")


@contextmanager
def running(*words: str, folder: Path, **environment: str) -> Iterator[dict[str, Any]]:
    """What a ``gpuplan`` process says of itself; it runs for as long as the block does."""
    process = run_gpuplan(*words, "--json", folder=folder, **environment)
    try:
        yield announced(process) | {"pid": process.pid}
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="session")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """``url`` of a dashboard, and ``api`` of its own service."""
    with running("dashboard", "--port", "0", "--no-browser", folder=tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_api.sync_playwright() as playwright:
        if found is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium: install Debian's chromium, or run `playwright install chromium`")
        running = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def open_url(browser: Any) -> Iterator[OpenPage]:
    """``open_url("http://...")``: a page of a new visitor, drawn. Errors in the console fail the test."""
    errors: list[str] = []
    contexts = []

    def open_it(url: str, width: Literal["desk", "phone"] = "desk", scheme: Literal["light", "dark"] = "light") -> Any:
        context = browser.new_context(viewport={"width": WIDTHS_PX[width], "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        drawn(page)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert not errors, errors


@pytest.fixture
def open_page(open_url: OpenPage, addresses: dict[str, Any]) -> OpenPage:
    """``open_page("serving?rate=12")``: the same, of the dashboard that all tests share."""
    return lambda address, *looks: open_url(f"{addresses['url']}/{address}", *looks)


def drawn(page: Any) -> None:
    """Wait until the script of the page has run to its end and what it drew is there."""
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_function("document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'")
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton], [data-stale=true]')")


def metric(page: Any, label: str) -> Any:
    """The value of a key figure."""
    exactly = page.get_by_test_id("stMetricLabel").get_by_text(label, exact=True)
    return page.get_by_test_id("stMetric").filter(has=exactly).get_by_test_id("stMetricValue")


def open_tab(page: Any, name: str) -> None:
    """Open a tab and wait for what is in it."""
    page.get_by_role("tab", name=name, exact=True).click()
    sync_api.expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")
    drawn(page)


def choose(page: Any, label: str, option: str) -> None:
    """Choose from a list by typing, as by keyboard."""
    box = page.get_by_role("combobox", name=label)
    box.click()
    box.fill(option)
    page.get_by_role("option", name=option).first.click()
    drawn(page)


def file_input(page: Any, label: str) -> Any:
    """Where a file is given."""
    return page.get_by_test_id("stFileUploader").filter(has_text=label).locator("input[type=file]")


def jobs_of(api: str, kind: str = "plan") -> list[dict[str, Any]]:
    """The service's jobs, newest first."""
    jobs: list[dict[str, Any]] = httpx.get(f"{api}/v1/jobs", params={"kind": kind}).json()["jobs"]
    return jobs


def wait_for_job(api: str, status: str, known: Collection[str] = ()) -> str:
    """Until a job that is not known has a status; its id."""
    end_s = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < end_s:
        found = [job["id"] for job in jobs_of(api) if job["status"] == status and job["id"] not in known]
        if found:
            return str(found[0])
        time.sleep(0.05)
    raise AssertionError(f"no job was {status}: {jobs_of(api)}")
