"""A service that asks for keys: without one, with a wrong one and with one that may only read there are words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import OpenPage, metric, run_gpuplan, running

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

MakeKey = Callable[..., str]


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, MakeKey]]:
    """A dashboard of a service that asks for keys, and what makes keys of some scopes."""
    folder = tmp_path_factory.mktemp("asking")

    def make_key(*scopes: str) -> str:
        chosen = [word for scope in scopes for word in ("--scope", scope)]
        said, _ = run_gpuplan("keys", "create", "tester", *chosen, "--json", folder=folder).communicate(timeout=60)
        return str(json.loads(said)["key"])

    serve = ("serve", "--port", "0", "--require-key")
    with running(*serve, folder=folder, GPUPLAN_LOG_LEVEL="warning") as service:
        show = ("dashboard", "--port", "0", "--no-browser", "--api", service["url"])
        with running(*show, folder=folder) as found:
            yield found["url"], make_key


def type_key(page: Any, key: str) -> None:
    page.get_by_role("button", name="Service").click()
    page.get_by_label("API key").fill(key)
    page.get_by_label("API key").press("Enter")
    page.keyboard.press("Escape")


def test_what_a_key_opens(asking: tuple[str, MakeKey], open_url: OpenPage) -> None:
    url, make_key = asking
    page = open_url(f"{url}/serving")
    expect(page.get_by_text("This service asks for an API key.")).to_be_visible()
    type_key(page, "gpuplan_wrong")
    expect(page.get_by_text("This service asks for an API key.")).to_be_visible()
    type_key(page, make_key("read"))
    expect(page.get_by_text("This key may not do that.")).to_be_visible()
    expect(page.get_by_text("scope 'plan'")).to_be_visible()
    type_key(page, make_key("read", "plan"))
    expect(metric(page, "Cost")).to_be_visible()
    assert "gpuplan_" not in page.url
