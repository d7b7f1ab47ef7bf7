"""Every page and tab in a real browser: wide and narrow, light and dark, for everybody."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.conftest import OpenPage, drawn, open_tab

PAGES = ("", "serving", "experts", "training", "power", "profiles", "history")
LOOKS = (("desk", "light"), ("phone", "dark"))

TABS = {
    "serving": ("Savings", "Sizes", "Curves", "Limits", "Simulate", "Keep"),
    "experts": ("Choices", "Workloads", "Moves", "Keep"),
    "training": ("Time and money", "Memory", "Step", "Schedule", "Links", "Failures and nodes"),
    "profiles": ("Predictions", "Catalogue", "Import"),
}
"""Those that are not open at first, by page."""

TABS_OF_A_PLAN = ("Check", "Spec", "Files", "Compare")

STANDARDS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")


NOTHING_FADES = "!document.getAnimations().some(one => one.effect.getComputedTiming().iterations !== Infinity)"
"""Half-way through, colours have another contrast."""


def check(page: Any) -> None:
    """It is as wide as the window, also a narrow one, without errors, and axe finds nothing that shuts people out."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.mouse.move(0, 0)
    page.wait_for_function(NOTHING_FADES)
    assert page.locator("[data-testid=stException], [data-testid=stAlertContentError]").count() == 0
    wider_than_window = "document.scrollingElement.scrollWidth - window.innerWidth"
    assert page.evaluate(wider_than_window) <= 0
    found = axe.Axe().run(page, options={"runOnly": list(STANDARDS)}).response["violations"]
    assert not [(v["id"], [node["html"][:200] for node in v["nodes"][:3]]) for v in found]


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
@pytest.mark.parametrize("page", PAGES)
def test_page_fits_and_shuts_nobody_out(open_page: OpenPage, page: str, width: str, scheme: str) -> None:
    check(open_page(page, width, scheme))


@pytest.mark.parametrize("page", TABS)
def test_every_tab(open_page: OpenPage, page: str) -> None:
    shown = open_page(page, "phone", "dark")
    for name in TABS[page]:
        open_tab(shown, name)
        check(shown)


def test_every_tab_of_a_saved_plan(open_page: OpenPage, addresses: dict[str, Any]) -> None:
    plan_id = saved(addresses["api"], "experts")
    shown = open_page(f"history?plan={plan_id}", "phone", "dark")
    for name in TABS_OF_A_PLAN:
        open_tab(shown, name)
        check(shown)


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_what_opens_on_a_page(open_page: OpenPage, width: str, scheme: str) -> None:
    shown = open_page("serving", width, scheme)
    shown.get_by_role("button", name="Data", exact=True).first.click()
    shown.get_by_test_id("stPopoverBody").wait_for()
    check(shown)
    shown.keyboard.press("Escape")
    for part in shown.get_by_test_id("stExpander").locator("summary").all():
        if part.evaluate("one => !one.parentElement.open"):
            part.click()
    drawn(shown)
    check(shown)


def test_the_service_and_its_key(open_page: OpenPage) -> None:
    shown = open_page("")
    shown.get_by_role("button", name="Service", exact=True).click()
    shown.get_by_role("textbox", name="API key").wait_for()
    check(shown)


def saved(api: str, kind: str) -> str:
    """The plan of an example."""
    spec = httpx.get(f"{api}/v1/planners/{kind}").json()["example"]
    made = httpx.post(f"{api}/v1/plans", json={"kind": kind, "spec": spec}, headers={"Prefer": "wait=60"}, timeout=70)
    return str(made.raise_for_status().json()["id"])
