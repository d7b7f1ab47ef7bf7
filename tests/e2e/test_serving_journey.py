"""The way through the dashboard: a trace, another rate, another mix, a simulation, files, a service, a comparison."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.e2e.conftest import OpenPage, choose, drawn, file_input, metric, open_tab

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

NUM_REQUESTS = 500
TRACE = "time,input_tokens,output_tokens\n" + "".join(
    f"{i / 2},{200 + 7 * i % 900},{50 + 3 * i % 200}\n" for i in range(NUM_REQUESTS)
)
"""Two requests a second for four minutes."""

RATE_OF_TRACE = "2.00401"
"""500 requests in 249.5 s."""

RATE = "Requests/s, exactly"


def rate(page: Any) -> Any:
    return page.get_by_label(RATE, exact=True)


def headline(page: Any) -> str:
    return str(page.get_by_role("heading", level=2).first.inner_text())


def in_address(page: Any, name: str) -> str:
    return parse_qs(urlsplit(page.url).query).get(name, [""])[0]


def test_from_a_trace_to_files_and_a_comparison(open_page: OpenPage) -> None:
    page = open_page("serving")
    upload_a_trace(page)
    cost_of_trace = metric(page, "Cost").inner_text()
    move_the_rate(page)
    simulate(page)
    address, cost = page.url, metric(page, "Cost").inner_text()
    save_a_service(page)
    download_manifests(page)
    compare(page, cost_of_trace)

    again = open_page(address.rpartition("/")[2])
    expect(rate(again)).to_have_value("40")
    expect(metric(again, "Cost")).to_have_text(cost)
    expect(again.get_by_role("tab", name="Simulate")).to_have_attribute("aria-selected", "true")
    expect(metric(again, "SLO attainment")).to_be_visible()


def upload_a_trace(page: Any) -> None:
    """It sets rate and mix, and the address names the plan of it."""
    example = headline(page)
    file_input(page, "Traffic from a file").set_input_files(
        {"name": "trace.csv", "mimeType": "text/csv", "buffer": TRACE.encode()}
    )
    expect(rate(page)).to_have_value(RATE_OF_TRACE)
    expect(page.get_by_role("heading", level=2, name=example, exact=True)).to_have_count(0)
    expect(page.get_by_text(f"{NUM_REQUESTS} requests")).to_be_visible()
    drawn(page)
    assert in_address(page, "plan")


def move_the_rate(page: Any) -> None:
    """By keyboard on the slider, then as a number: mix and cost follow."""
    before, cost = headline(page), metric(page, "Cost").inner_text()
    slider = page.get_by_role("group", name="Requests/s", exact=True).get_by_role("slider")
    slider.focus()
    slider.press("ArrowRight")
    expect(rate(page)).to_have_value("2.2")
    rate(page).fill("40")
    rate(page).press("Enter")
    expect(page.get_by_role("heading", level=2, name=before, exact=True)).to_have_count(0)
    expect(metric(page, "Cost")).not_to_have_text(cost)
    drawn(page)
    assert in_address(page, "rate") == "40"


def simulate(page: Any) -> None:
    """The requests of the file, against the limits."""
    open_tab(page, "Simulate")
    page.get_by_role("button", name="Simulate", exact=True).click()
    expect(metric(page, "SLO attainment")).to_contain_text("%")
    expect(page.get_by_text(re.compile(rf"^{NUM_REQUESTS} requests of .*within every limit"))).to_be_visible()
    expect(page.get_by_label("Cumulative distribution of TTFT").first).to_be_attached()
    drawn(page)


def save_a_service(page: Any) -> None:
    open_tab(page, "Keep")
    page.get_by_role("button", name="Save as a nightly service").click()
    expect(page.get_by_text("Saved as version 1")).to_be_visible()


def download_manifests(page: Any) -> None:
    """From History: what comes is a zip of Kubernetes objects."""
    page.get_by_role("link", name="Open in History").click()
    expect(page.get_by_role("heading", level=1, name="History")).to_be_visible()
    open_tab(page, "Files")
    choose(page, "Files for", "kubernetes")
    with page.expect_download() as download:
        page.get_by_role("button", name="All files as zip").click()
    files = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes()))
    manifests = [name for name in files.namelist() if name.endswith((".yaml", ".yml"))]
    objects = [one for name in manifests for one in yaml.safe_load_all(files.read(name)) if one]
    assert "Deployment" in {one["kind"] for one in objects}
    assert all(one["apiVersion"] for one in objects)


def compare(page: Any, cost: str) -> None:
    """With a plan from before the rate was moved: what was asked otherwise is named, and what that changes."""
    open_tab(page, "Compare")
    choose(page, "Second plan", cost)
    expect(page.get_by_role("region", name="what was asked")).to_contain_text("requests_per_s")
    expect(page.get_by_test_id("stMetric").filter(has_text="Cost of the second")).to_contain_text("−")
    assert in_address(page, "with")
