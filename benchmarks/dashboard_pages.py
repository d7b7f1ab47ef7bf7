"""How soon each page of the dashboard is there, and how soon it answers, in a real browser, on the built-in examples.

Bars: first paint within 2 s, an interaction within 1 s at the median.

Run: python benchmarks/dashboard_pages.py [--runs N]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

PAGES = ("", "serving", "experts", "training", "power", "profiles", "history")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic")

FIRST_PAINT_S, INTERACTION_S = 2.0, 1.0
"""The bars."""

PATIENCE_MS = 120_000

HEADING = "() => document.querySelector('h1')"
CONTENT = "() => document.querySelector('h1') && document.querySelectorAll('[data-testid=stMain] input, \
[data-testid=stMain] button, [data-testid=stMetric]').length > 1"
DONE = "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning' \
&& document.querySelector('h1') && !document.querySelector('[data-testid=stSkeleton], [data-stale=true]')"
"""What a page has when its heading, its first content, and all of it are there."""

FORMS = ("9.2f", "9.2f", "11.2f", "7.0f", "9.0f")
"""Of the columns of what ``visit`` measures."""

RATES = (9, 12, 15, 18, 24, 30, 36, 45, 60, 75)
TTFT_LIMITS_MS = (1900, 1800, 1700, 1600, 1500, 1400, 1300, 1200, 1100, 1000)
TABS = ("Savings", "Sizes", "Limits", "Keep", "Mix")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    print(f"load average when it began: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        process, url = start(Path(folder))
        try:
            found = next(filter(None, map(shutil.which, BROWSERS)), None)
            browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
            open_pages(browser, url, runs)
            move_controls(browser, url, runs)
        finally:
            process.terminate()
            process.wait(60)


def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """``gpuplan dashboard`` with a store of its own, and its address."""
    command = [sys.executable, "-m", "planner.cli", "dashboard", "--port", "0", "--no-browser", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert process.stdout is not None
    return process, json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")["url"]


def open_pages(browser: Any, url: str, runs: int) -> None:
    """From the start of navigation, by visitors who come for the first time (empty cache, new session)."""
    print(f"\nfirst paint, s: the very first, then the median of {runs} new visitors (bar {FIRST_PAINT_S:g} s)")
    print(f"{'page':10}{'first visit':>12}{'heading':>9}{'content':>9}{'all of it':>11}{'KiB':>7}{'requests':>9}")
    for address in PAGES:
        visits = [visit(browser, f"{url}/{address}") for _ in range(runs + 1)]
        first, later = visits[0], visits[1:]
        medians = [statistics.median(column) for column in zip(*later, strict=True)]
        columns = "".join(f"{value:{form}}" for value, form in zip(medians, FORMS, strict=True))
        bar = "" if medians[1] < FIRST_PAINT_S else "  over the bar"
        print(f"{address or 'overview':10}{first[1]:12.2f}{columns}{bar}", flush=True)


def visit(browser: Any, url: str) -> tuple[float, float, float, float, float]:
    """Seconds until heading, first content and all of it; KiB and requests over HTTP."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    began_s = time.perf_counter()
    page.goto(url, wait_until="commit")
    seconds = []
    for condition in (HEADING, CONTENT, DONE):
        page.wait_for_function(condition)
        seconds.append(time.perf_counter() - began_s)
    sizes = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.transferSize)")
    context.close()
    return seconds[0], seconds[1], seconds[2], sum(sizes) / 1024, len(sizes)


def move_controls(browser: Any, url: str, runs: int) -> None:
    """On the serving page: from the key to the new answer; every value is new to the service."""
    print(f"\ninteractions on the serving page, s, median and worst of {runs} (bar {INTERACTION_S:g} s)")
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{url}/serving")
    page.wait_for_function(DONE)
    page.get_by_test_id("stMetric").first.wait_for()

    def typed(label: str, value: int) -> Callable[[Page], None]:
        def act(page: Page) -> None:
            control = page.get_by_label(label, exact=True)
            control.fill(str(value))
            control.press("Enter")

        return act

    def opened(name: str) -> Callable[[Page], None]:
        return lambda page: page.get_by_role("tab", name=name, exact=True).click()

    for label, acts in {
        "rate": [typed("Requests/s, exactly", rate) for rate in RATES],
        "rate, seen before": [typed("Requests/s, exactly", rate) for rate in RATES],
        "TTFT limit": [typed("TTFT, ms", limit_ms) for limit_ms in TTFT_LIMITS_MS],
        "tab": [opened(name) for name in TABS * 2],
    }.items():
        seconds = [timed(page, acts[i % len(acts)]) for i in range(max(runs, len(acts)))]
        median_s = statistics.median(seconds)
        bar = "" if median_s < INTERACTION_S else "  over the bar"
        print(f"{label:20}{median_s:6.2f}{max(seconds):6.2f}{bar}", flush=True)


def timed(page: Page, act: Callable[[Page], None]) -> float:
    """Seconds from an act until its run of the page began and ended, and all that it drew is there."""
    page.evaluate("""() => {
        const app = document.querySelector('[data-testid=stApp]')
        window.began = false
        new MutationObserver(() => { if (app.dataset.testScriptState !== 'notRunning') window.began = true })
            .observe(app, {attributes: true})
    }""")
    began_s = time.perf_counter()
    act(page)
    page.wait_for_function("() => window.began")
    page.wait_for_function(DONE)
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main()
