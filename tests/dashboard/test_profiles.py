"""The page of profiles: what it shows is what the service says, and files are taken whole or not at all."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import httpx
import pyarrow.ipc
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.client import Refused
from dashboard.profiles import benchmarks, comparison, facts, matrix
from dashboard.profiles.columns import KINDS
from dashboard.words import plain
from tests.dashboard.conftest import OpenPage

Get = Callable[..., Any]

TODAY = dt.date(2026, 11, 21)
HEADER = "model,gpu,phase,batch_tokens_or_requests,ms_per_layer\n"


@pytest.fixture
def get(service_url: str) -> Get:
    return lambda path, **query: httpx.get(f"{service_url}{path}", params=query, timeout=60).json()


def tables(page: AppTest) -> list[str]:
    return [html.proto.body for html in page.get("html") if "<table>" in html.proto.body]


def charts(page: AppTest) -> list[Any]:
    return [chart.proto for chart in page.get("vega_lite_chart")]


def drawn(chart: Any) -> list[dict[str, Any]]:
    """The rows of the largest data set of a chart."""
    sets = [pyarrow.ipc.open_stream(one.data.data).read_all() for one in chart.datasets]
    rows: list[dict[str, Any]] = max(sets, key=lambda table: table.num_rows).to_pylist()
    return rows


def test_the_matrix_holds_what_is_measured(open_page: OpenPage, get: Get) -> None:
    page = open_page("profiles")
    assert not page.exception
    cells = get("/v1/profiles/coverage")["cells"]
    figures = {metric.label: metric.value for metric in page.metric}
    assert figures["Models × GPU types"] == f"{len(cells):,}"
    assert figures["Measurements"] == f"{sum(sum(cell['num'].values()) for cell in cells):,}"
    (chart,) = charts(page)
    assert {(row["Model"], row["GPU"]): row["Measurements"] for row in drawn(chart)} == {
        (cell["model"], cell["gpu"]): sum(cell["num"].values()) for cell in cells
    }
    first = get("/v1/profiles/measurements", limit=20)
    assert f"of {first['num_found']:,}" in page.text[0].value
    assert tables(page)[-1].count("<tr>") == 1 + 20


def test_the_address_restores_a_cell_and_its_page(open_page: OpenPage, get: Get) -> None:
    cell = next(cell for cell in get("/v1/profiles/coverage")["cells"] if cell["num"].get("measurements", 0) > 40)
    wanted = {"model": cell["model"], "gpu": cell["gpu"]}
    page = open_page("profiles", measured_model=cell["model"], measured_gpu=cell["gpu"], list_page="2", shade="age")
    found = get("/v1/profiles/measurements", limit=40, **wanted)
    assert page.text[0].value == f"Rows 21 to 40 of {found['num_found']:,}"
    expected = [facts.row(KINDS["measurements"], fact, TODAY) for fact in found["items"][20:]]
    shown = tables(page)[-1]
    assert all(str(row["In flight"]) in shown for row in expected)
    assert shown.count("<tr>") == 1 + 20
    assert page.get("button_group")[0].value == "age"

    page.selectbox(key="measured_gpu").select("any").run()  # another list begins with its first page
    assert page.text[0].value.startswith("Rows 1 to 20 of")


def test_nonsense_in_the_address_is_left_out(open_page: OpenPage) -> None:
    page = open_page("profiles", measured_gpu="Abacus", shade="taste", list_page="9999", measured_kind="poems")
    assert not page.exception
    assert not page.error
    assert page.text[0].value.startswith("Rows 1 to 20 of")


@pytest.mark.parametrize("kind", ["gpus", "instances", "prices", "models", "grid", "collectives", "gemms"])
def test_every_kind_is_listed(open_page: OpenPage, get: Get, kind: str) -> None:
    page = open_page("profiles", profiles="Catalogue", catalogue=KINDS[kind].title)
    assert not page.exception
    found = get(f"/v1/profiles/{kind}", limit=20)
    if not found["items"]:
        assert "Nothing of this kind" in " ".join(text.value for text in page.markdown)
        return
    assert page.text[0].value == f"Rows 1 to {len(found['items'])} of {found['num_found']:,}"
    assert tables(page)[-1].count("<tr>") == 1 + len(found["items"])
    assert len(charts(page)) == (kind == "prices")


def test_prices_are_filtered_by_gpu_and_provider(open_page: OpenPage, get: Get) -> None:
    page = open_page("profiles", profiles="Catalogue", catalogue="Prices", of_gpu="H100", of_provider="aws")
    found = get("/v1/profiles/prices", gpu="H100", provider="aws")
    assert page.text[0].value == f"Rows 1 to {found['num_found']} of {found['num_found']}"
    page.text_input(key="of_provider").input("nobody <b>").run()
    assert not page.exception
    assert "Nothing of this kind" in " ".join(text.value for text in page.markdown)


def test_predictions_are_compared_when_asked(open_page: OpenPage, service_url: str) -> None:
    page = open_page("profiles", profiles="Predictions", quantity="Training step", held_out="each model")
    assert not charts(page)
    page.button[0].click().run()
    assert not page.exception
    asked = {"part": "training", "hold_out": "model"}
    found = httpx.post(f"{service_url}/v1/validations", json=asked, headers={"Prefer": "wait=60"}, timeout=90).json()
    figures = {metric.label: metric.value for metric in page.metric}
    assert figures["Mean error"] == f"{found['step_ms']['mape']:.1%}"
    assert figures["Inside the interval"] == f"{found['step_ms']['coverage']:.0%}"
    (chart,) = charts(page)
    assert f"{found['step_ms']['mape']:.1%}" in json.loads(chart.spec)["title"]
    pairs = [row["compared"]["step_ms"] for row in found["predictions"]]
    assert [row["Measured ms"] for row in drawn(chart)] == pytest.approx([p["measured"] for p in pairs], rel=1e-4)
    assert [row["Predicted ms"] for row in drawn(chart)] == pytest.approx([p["predicted"] for p in pairs], rel=1e-4)
    assert page.query_params["compared"] == "training model"
    linked = open_page("profiles", profiles="Predictions", quantity="Training step", held_out="each model",
                       compared="training model")  # fmt: skip
    assert {metric.label: metric.value for metric in linked.metric} == figures


def given(page: AppTest, name: str, content: bytes) -> AppTest:
    return page.file_uploader[0].set_value((name, content, "text/csv")).run()


def test_mistakes_of_a_file_are_told_row_by_row(open_page: OpenPage, get: Get) -> None:
    before = get("/v1/profiles")
    page = open_page("profiles", profiles="Import", format="helix")
    rows = "".join(f"llama2_70b,t4,decode,{size},-1\n" for size in range(1, 31))
    given(page, "mine.csv", (HEADER + rows).encode())
    assert not page.exception
    assert "30 problems" in page.error[0].value
    shown = tables(page)[-1]
    assert shown.count("<tr>") == 1 + 20
    assert "ms_per_layer" in shown
    assert not any(button.label.startswith("Import") for button in page.button)
    assert get("/v1/profiles") == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\x00\xff\x01" * 50, "binary"),
        ((HEADER + "llam\xe4,t4,decode,1,1\n").encode("latin-1"), "UTF-8"),
        (b"a,b\n1,2\n", "no column"),
        (HEADER.encode(), "no rows"),
    ],
)
def test_bad_files_are_refused_in_words(open_page: OpenPage, content: bytes, said: str) -> None:
    page = given(open_page("profiles", profiles="Import", format="helix"), "mine.csv", content)
    assert not page.exception
    assert plain(said) in page.error[0].value
    assert plain("mine.csv") in page.error[0].value


def test_a_good_file_is_looked_at_then_imported(open_page: OpenPage, get: Get) -> None:
    before = get("/v1/profiles")["num"]["layer-measurements"]
    page = open_page("profiles", profiles="Import", format="helix")
    given(page, "mine.csv", (HEADER + "llama2_70b,t4,decode,3,0.7\nllama2_70b,l4,decode,3,0.8\n").encode())
    assert not page.exception, page.exception
    assert "holds 2 times of one layer" in " ".join(text.value for text in page.markdown)
    assert get("/v1/profiles")["num"]["layer-measurements"] == before
    page.session_state["kept_answers"] = {"something": {}}
    next(button for button in page.button if button.label == "Import 2 rows").click().run()
    assert "2 added" in page.success[0].value
    assert "kept_answers" not in page.session_state
    assert get("/v1/profiles")["num"]["layer-measurements"] == before + 2


def test_mistakes_name_line_and_column() -> None:
    found = benchmarks.mistakes([
        {"field": "body.csv:12: ttft_ms", "detail": "is missing"},
        {"field": "body.csv:3", "detail": "has 2 cells, the header has 5"},
        {"field": "--gpu", "detail": "unknown"},
    ])  # fmt: skip
    assert [(row["Line"], row["Column"]) for row in found] == [
        ("12", "ttft_ms"), ("3", "the whole line"), (None, "--gpu"),
    ]  # fmt: skip


def test_ages_are_in_words() -> None:
    days = {0: "0 days", 1: "a day", 59: "59 days", 100: "3 months", 800: "2.2 years"}
    for num, text in days.items():
        assert facts.age(str(TODAY - dt.timedelta(num)), TODAY) == text
    assert facts.age("2030-01-01", TODAY) == "0 days"


def test_errors_are_by_model_and_gpu() -> None:
    groups = [
        {"model": "a", "gpu": "H100", "rows": 2, "tpot_ms": {"mape": 0.1, "median_ape": 0.1, "coverage": 1.0}},
        {"model": "b", "gpu": "H100", "rows": 9, "tpot_ms": {"mape": None, "median_ape": None, "coverage": None}},
    ]
    assert comparison.errors_by_pair({"groups": groups}, "tpot_ms") == {("a", "H100"): 0.1}
    assert [row["Model"] for row in comparison.broken_down(groups, ("model", "gpu"), "tpot_ms")] == ["b", "a"]
    cell = {"model": "a", "gpu": "H100", "num": {"measurements": 2}, "num_gpus": [1], "precisions": [], "engines": [],
            "newest": "2026-11-01", "sources": ["s"]}  # fmt: skip
    (row,) = matrix.rows([cell], {("a", "H100"): 0.1}, TODAY)
    assert (row["Measurements"], row["Mean error %"], row["Months since the newest"]) == (2, 10.0, 1)
    assert matrix.kinds([cell], "a", "L4") == ["measurements"]


def test_a_key_without_the_scope_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = {"status": 403, "title": "forbidden", "detail": "this key may not do that", "fix": "use another"}
    shown: list[str] = []
    monkeypatch.setattr(benchmarks.states, "refused", lambda error: shown.append(error.detail))
    benchmarks.refused(Refused(problem), "mine.csv")
    assert shown == ["this key may not do that"]
