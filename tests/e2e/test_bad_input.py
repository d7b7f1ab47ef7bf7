"""Files and addresses that make no sense: told in words, and the page goes on."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import OpenPage, drawn, file_input, metric

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

MIB = 2**20
BAD_FILES = {
    "empty.csv": (b"", "empty.csv is empty"),
    "binary.csv": (bytes(range(256)) * 8, "binary.csv: is not a text file"),
    "columns.csv": (b"colour,shape\nred,round\n", "has no column for time"),
    "utf16.csv": ("time,input_tokens\n1,5\n".encode("utf-16"), "give a CSV file in UTF-8"),
    "large.csv": (b"1,2,3\n" * (17 * MIB // 6), "16.0MB"),
}
"""Content by name, and what the page says of it."""

NONSENSE = {
    "serving": "rate=-5&view=Nowhere&plan=%2e%2e%2fetc&replay_of=zzz&simulation=1.2&percentile=p101&gpus=%3Cscript%3E",
    "experts": "experts_view=zzz&plan=nothing&experts_target=%F0%9F%92%A9",
    "training": "look=zzz&plan=%27%3B--&row=-1",
    "power": "simulate_s=never&plan=zzz&power_target=no",
    "profiles": "profiles=zzz&measured_model=no&shade=dark&quantity=none&compared=zzz",
    "history": "kind=zzz&outcome=zzz&page=-3&before=zzz&tab=zzz&with=zzz",
}
"""By page."""


def test_files_that_are_no_traffic(open_page: OpenPage) -> None:
    page = open_page("serving")
    cost = metric(page, "Cost").inner_text()
    for name, (content, words) in BAD_FILES.items():
        given = file_input(page, "Traffic from a file")
        given.set_input_files({"name": name, "mimeType": "text/csv", "buffer": content})
        traffic = page.get_by_test_id("stExpander").filter(has_text="Traffic from a file")
        expect(traffic).to_contain_text(words)
        drawn(page)
        expect(metric(page, "Cost")).to_have_text(cost)


@pytest.mark.parametrize("page", NONSENSE)
def test_addresses_that_make_no_sense(open_page: OpenPage, page: str) -> None:
    shown = open_page(f"{page}?{NONSENSE[page]}")
    assert shown.locator("[data-testid=stException], [data-testid=stAlertContentError]").count() == 0
    told = shown.locator("[data-testid=stAlertContentInfo], [data-testid=stAlertContentWarning]")
    expect(told.first).to_be_visible()
