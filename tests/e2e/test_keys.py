"""A service that asks for keys: without one, with a wrong one and with one that may only read there are words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import OpenPage, metric, run_gpuplan, running

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

SCOPES = {"reader": ("read",), "planner": ("read", "plan")}
"""Of the keys, by their names."""


def make_key(name: str, folder: Path) -> str:
    scopes = [word for scope in SCOPES[name] for word in ("--scope", scope)]
    said, _ = run_gpuplan("keys", "create", name, *scopes, "--json", folder=folder).communicate(timeout=60)
    return str(json.loads(said)["key"])


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """By name. Making the first one makes the store too."""
    return {name: make_key(name, tmp_path) for name in SCOPES}


@pytest.fixture
def asking_url(keys: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """A dashboard of a service that asks for keys."""
    with running("serve", "--port", "0", "--require-key", folder=tmp_path, GPUPLAN_LOG_LEVEL="warning") as service:
        show = ("dashboard", "--port", "0", "--no-browser", "--api", service["url"])
        with running(*show, folder=tmp_path) as found:
            yield found["url"]


def type_key(page: Any, key: str) -> None:
    page.get_by_role("button", name="Service").click()
    page.get_by_role("textbox", name="API key").fill(key)
    page.get_by_role("textbox", name="API key").press("Enter")
    page.keyboard.press("Escape")


def test_what_a_key_opens(asking_url: str, keys: dict[str, str], open_url: OpenPage) -> None:
    page = open_url(f"{asking_url}/serving")
    expect(page.get_by_text("This service asks for an API key.")).to_be_visible()
    type_key(page, "gpk_wrong")
    expect(page.get_by_text("This service asks for an API key.")).to_be_visible()
    type_key(page, keys["reader"])
    expect(page.get_by_text("This key may not do that.")).to_be_visible()
    expect(page.get_by_text("scope 'plan'")).to_be_visible()
    type_key(page, keys["planner"])
    expect(metric(page, "Cost")).to_be_visible()
    assert keys["planner"] not in page.url
