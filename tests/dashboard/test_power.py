"""The power page: a plan shown as it is, and nothing simulated that nobody asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from api.examples import SPECS
from dashboard.power import day, settings
from tests.dashboard.conftest import OpenPage
from tests.planner.power.plans import row_plan, site_plan

SPEC = SPECS["power"]


def shown(plan: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch, tab: str) -> AppTest:
    def script() -> None:
        import streamlit as st

        from dashboard import connection
        from dashboard.power import shown

        shown.show(connection.client(), st.session_state["plan"])

    monkeypatch.setenv("GPUPLAN_API_URL", url)
    page = AppTest.from_function(script, default_timeout=60)
    page.session_state["plan"] = plan
    page.query_params["power_view"] = tab
    return page.run()


@pytest.fixture(scope="module")
def plan() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(row_plan().model_dump_json())
    return {**document, "id": "none"}


def test_nothing_is_simulated_unasked(open_page: OpenPage) -> None:
    page = open_page("power", num_servers="46")
    assert not page.exception
    assert not page.metric
    assert page.number_input(key="num_servers").value == 46
    assert any("asks first" in text.value for text in page.markdown)


@pytest.mark.parametrize("tab", ["Day", "Risk", "Policies", "Sensitivity", "Feeds", "Assumptions"])
def test_every_tab_shows_what_the_plan_says(
    plan: dict[str, Any], service_url: str, monkeypatch: pytest.MonkeyPatch, tab: str
) -> None:
    page = shown(plan, service_url, monkeypatch, tab)
    assert not page.exception
    figures = {metric.label: metric.value for metric in page.metric}
    assert figures["Servers"] == f"{plan['num_servers']}"
    assert figures["Confidence"] == f"{plan['confidence']:.2%}"
    assert figures["Emergency brakes"] == f"{plan['num_brakes']}"


def test_a_site_shows_its_feeds(service_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = {**json.loads(site_plan().model_dump_json()), "id": "none"}
    page = shown(plan, service_url, monkeypatch, "Feeds")
    assert not page.exception
    placed = next(metric for metric in page.metric if metric.label == "Placed")
    assert placed.value == f"{plan['placement']['num_placed']} of {plan['placement']['num_asked']}"


def test_settings_round_trip() -> None:
    now = settings.read(SPEC)
    assert now["budget_kw"] == 40 * 6.5
    assert settings.written(SPEC, now) == SPEC
    new = {**now, "budget_kw": 300.0, "num_servers": 50, "policy": "none", "weeks": 2, "confidence": 90.0,
           "max_brakes": 1, "assume": "low", "method": "in_band"}  # fmt: skip
    assert settings.read(settings.written(SPEC, new)) == new


@pytest.mark.parametrize("budget_kw", [1e-5, 5e6])
def test_a_budget_beyond_the_usual_is_shown_as_it_is(budget_kw: float) -> None:
    def script() -> None:
        import streamlit as st

        from dashboard.power import controls
        from dashboard.start import Start

        st.session_state["spec"] = controls.show(Start(st.session_state["spec"]))

    spec = {**SPEC, "row": {**SPEC["row"], "budget_w": 1000 * budget_kw, "budget_servers": None}}
    page = AppTest.from_function(script, default_timeout=60)
    page.session_state["spec"] = spec
    page.run()
    assert not page.exception
    assert page.session_state["spec"] == spec


def test_capped_spans_by_hand() -> None:
    trace = [{"second": 60 * i, "step": step} for i, step in enumerate([0, 1, 1, 0, 2])]
    hour = 3600
    assert day.capped(trace) == [
        {"caps": "step 1", "from": 60 / hour, "to": 180 / hour},
        {"caps": "step 2", "from": 240 / hour, "to": 300 / hour},
    ]
