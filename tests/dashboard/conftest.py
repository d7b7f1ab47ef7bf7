"""A real service, and pages run against it without a browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

PAGES = Path(__file__).parents[2] / "dashboard" / "pages"
PAGE_S = 60.0

OpenPage = Callable[..., AppTest]


@pytest.fixture(scope="session")
def service_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with a store of its own, as ``gpuplan serve`` runs it."""
    folder = tmp_path_factory.mktemp("service")
    serve = [sys.executable, "-c", "from planner.cli import main; main()", "serve", "--port", "0", "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GPUPLAN_")}
    process = subprocess.Popen(serve, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")["url"]
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def open_page(service_url: str, monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    """``open_page("serving", rate="12")``: a page as it is when its first run has ended."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # Streamlit leaves the page's script there

    def open_it(name: str, **query: str) -> AppTest:
        monkeypatch.setenv("GPUPLAN_API_URL", service_url)
        page = AppTest.from_file(str(PAGES / "frame.py"), default_timeout=PAGE_S)
        page.run()
        for parameter, value in query.items():
            page.query_params[parameter] = value
        return page.switch_page(f"{name}.py").run()

    return open_it
