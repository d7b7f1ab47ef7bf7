"""Every page in a real browser: wide and narrow, light and dark, for everybody."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import OpenPage

PAGES = ("", "serving", "experts", "training", "power", "profiles", "history")
LOOKS = (("desk", "light"), ("phone", "dark"))

STANDARDS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
@pytest.mark.parametrize("page", PAGES)
def test_page_fits_and_shuts_nobody_out(open_page: OpenPage, page: str, width: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    shown = open_page(page, width, scheme)
    assert shown.locator("[data-testid=stException], [data-testid=stAlertContentError]").count() == 0
    wider_than_window = "document.scrollingElement.scrollWidth - window.innerWidth"
    assert shown.evaluate(wider_than_window) <= 0
    found = axe.Axe().run(shown, options={"runOnly": list(STANDARDS)}).response["violations"]
    assert not [(v["id"], [node["html"][:200] for node in v["nodes"][:3]]) for v in found]
