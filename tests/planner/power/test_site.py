"""Sites that cannot be, each refused by a message that names the field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from planner.power.site import Site


def site(**changes: Any) -> Site:
    fields: dict[str, Any] = {
        "redundancy": "2N",
        "feeds": [{"name": "A", "budget_w": 1e5}, {"name": "B", "budget_w": 1e5}],
        "pdus": [{"name": "A1", "feed": "A", "budget_w": 5e4}, {"name": "B1", "feed": "B", "budget_w": 5e4}],
        "rows": [{"name": "R1", "pdus": ["A1", "B1"], "budget_w": 5e4, "slots": 10}],
        "groups": [{"workload": "chat", "num_servers": 5}],
    }
    return Site.model_validate(fields | changes)


def test_a_site_as_it_should_be_is_taken() -> None:
    assert site().rows[0].phases == 3


ROW = {"name": "R1", "pdus": ["A1", "B1"], "budget_w": 5e4, "slots": 10}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feeds": [{"name": "A", "budget_w": 1e5}] * 2}, "feeds: 'A' appears twice"),
        ({"rows": [ROW, ROW]}, "rows: 'R1' appears twice"),
        ({"groups": [{"workload": "chat", "num_servers": 1}] * 2}, "groups: 'chat' appears twice"),
        (
            {"pdus": [{"name": "A1", "feed": "C", "budget_w": 5e4}]},
            r"pdus\[0\].feed: 'C' is not one of the feeds, A, B",
        ),
        ({"rows": [ROW | {"pdus": ["A1", "B2"]}]}, r"rows\[0\].pdus: 'B2' is not one of the pdus"),
        ({"rows": [ROW | {"pdus": ["A1", "A1"]}]}, r"rows\[0\].pdus: a PDU is there twice"),
        ({"rows": [ROW | {"pdus": ["A1"]}]}, r"rows\[0\].pdus: 2N needs two PDUs on two feeds"),
        ({"redundancy": "N+1", "rows": [ROW | {"pdus": ["A1"]}]}, r"rows\[0\].pdus: all on one feed"),
        ({"groups": [{"workload": "chat", "num_servers": 11}]}, "groups: 11 servers for 10 slots of all rows"),
        ({"rows": [ROW | {"phases": 2}]}, "phases"),
        ({"rows": [ROW | {"budget_w": -1}]}, "budget_w"),
        ({"max_risk": 0.5}, "max_risk"),
    ],
)
def test_a_site_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        site(**changes)


def test_without_redundancy_one_pdu_is_enough() -> None:
    assert site(redundancy="N", rows=[ROW | {"pdus": ["A1"]}]).rows[0].pdus == ("A1",)
