"""Addresses with nonsense: every page opens, says what it left out, and shows it as it is."""

from __future__ import annotations

import pytest

from dashboard.words import plain
from tests.dashboard.conftest import OpenPage

MARKUP = "`a`![x](http://e.example/x.png)"


@pytest.mark.parametrize(
    ("name", "parameter"),
    [("serving", "max_gpu_types"), ("serving", "rate"), ("training", "batch"), ("experts", "gpus"), ("power", "weeks")],
)
@pytest.mark.parametrize("value", ["inf", "-1e999", "nan"])
def test_endless_numbers_are_left_out_and_told(open_page: OpenPage, name: str, parameter: str, value: str) -> None:
    page = open_page(name, **{parameter: value})
    assert not page.exception
    assert not page.error
    assert plain(f"{parameter}={value}") in page.info[0].value
    assert parameter not in page.query_params


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("profiles", {"shade": ""}),
        ("profiles", {"profiles": "Catalogue", "catalogue": ""}),
        ("profiles", {"profiles": "Predictions", "parity_colour": ""}),
        ("serving", {"split": ""}),
        ("serving", {"view": "Curves", "curve": ""}),
        ("training", {"least": ""}),
        ("training", {"look": "Time and money", "against": ""}),
        ("experts", {"compare_load": ""}),
    ],
)
def test_a_choice_that_the_address_leaves_empty_is_the_usual_one(
    open_page: OpenPage, name: str, query: dict[str, str]
) -> None:
    page = open_page(name, **query)
    assert not page.exception
    assert not page.error


@pytest.mark.parametrize("name", ["serving", "training", "experts", "power", "history"])
@pytest.mark.parametrize("plan_id", [MARKUP, "../services", "?limit=1", "x" * 2000, "a\nb"])
def test_plans_that_are_none_are_told_without_markup(open_page: OpenPage, name: str, plan_id: str) -> None:
    page = open_page(name, plan=plan_id)
    assert not page.exception
    assert not page.error
    assert plain(plan_id[:64]) in page.warning[0].value


def test_what_was_left_out_is_shown_without_markup(open_page: OpenPage) -> None:
    page = open_page("serving", rate=MARKUP)
    assert plain(f"rate={MARKUP}"[:45]) in page.info[0].value
    assert "![x](" not in page.info[0].value
