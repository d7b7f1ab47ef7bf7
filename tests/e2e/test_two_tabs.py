"""Two tabs change the same service: the second is told, and nothing is lost."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.conftest import OpenPage

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

SAVING, START_UP = "Least saving ($ over the horizon)", "Start-up (s)"


def change(page: Any, label: str, value: str) -> None:
    page.get_by_label(label, exact=True).fill(value)
    page.get_by_label(label, exact=True).press("Tab")
    page.get_by_role("button", name="Save the terms").click()


def test_second_tab_is_told(open_page: OpenPage, addresses: dict[str, Any]) -> None:
    service = f"{addresses['api']}/v1/services/shared"
    spec = httpx.get(f"{addresses['api']}/v1/planners/serving").json()["example"]
    httpx.put(service, json={"name": "shared", "spec": spec}).raise_for_status()
    first, second = (open_page("?service=shared&part=Terms") for _ in range(2))
    expect(first.get_by_label(SAVING, exact=True)).to_be_visible()
    expect(second.get_by_label(SAVING, exact=True)).to_be_visible()

    change(first, SAVING, "5")
    expect(first.get_by_text("The terms are saved")).to_be_visible()
    change(second, START_UP, "240")
    expect(second.get_by_text("Somebody else changed this service meanwhile.")).to_be_visible()
    both = second.get_by_role("region", name="both versions of shared")
    expect(both).to_contain_text(SAVING)
    expect(both).to_contain_text("240")
    assert httpx.get(service).json()["service"]["terms"]["least_saving_usd"] == 5

    second.get_by_role("button", name="Write mine").click()
    expect(second.get_by_text("Your terms are saved over theirs.")).to_be_visible()
    assert httpx.get(service).json()["service"]["terms"]["schedule"]["start_up_s"] == 240
    httpx.delete(service, headers={"If-Match": "*"}).raise_for_status()
