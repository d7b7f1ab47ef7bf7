"""Controls that are moved: by keyboard, and faster than plans are made."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import OpenPage, jobs_of, metric, wait_for_job

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

MOST_TABS = 60
"""Presses of the Tab key, at most, that lead to the rate."""


def test_the_rate_by_keyboard_alone(open_page: OpenPage) -> None:
    page = open_page("serving")
    rate, cost = page.get_by_label("Requests/s, exactly", exact=True), metric(page, "Cost").inner_text()
    unfocused = rate.locator("xpath=..").screenshot()
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if rate.evaluate("control => control === document.activeElement"):
            break
    expect(rate).to_be_focused()
    assert rate.locator("xpath=..").screenshot() != unfocused
    page.keyboard.type("90")
    page.keyboard.press("Enter")
    expect(metric(page, "Cost")).not_to_have_text(cost)


def test_a_plan_that_is_overtaken_is_cancelled(open_page: OpenPage, addresses: dict[str, Any]) -> None:
    page, api = open_page("power?simulate_s=600"), addresses["api"]
    known = [job["id"] for job in jobs_of(api)]
    page.get_by_role("button", name="Plan this row").click()
    overtaken = wait_for_job(api, "running", known)
    page.get_by_label("Budget, kW", exact=True).fill("300")
    page.get_by_label("Budget, kW", exact=True).press("Enter")
    assert wait_for_job(api, "cancelled", known) == overtaken
    expect(page.get_by_text("so this page asks first")).to_be_visible()
