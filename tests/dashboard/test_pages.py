"""What every page does, whatever it shows."""

import pytest

from tests.dashboard.conftest import PAGES, OpenPage

NAMES = sorted(file.stem for file in PAGES.glob("*.py") if file.stem != "frame")


@pytest.mark.parametrize("name", NAMES)
def test_page_opens(open_page: OpenPage, name: str) -> None:
    page = open_page(name)
    assert not page.exception
    assert not page.error
    assert len(page.title) == 1


@pytest.mark.parametrize("name", NAMES)
def test_nobody_at_the_address_is_told_in_words(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    page = open_page(name)
    monkeypatch.setenv("GPUPLAN_API_URL", "http://127.0.0.1:9")
    page.run()
    assert not page.exception
    assert "cannot be reached" in page.error[0].value
