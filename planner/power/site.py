"""A site to place servers on: feeds, PDUs, rows and their phases, and what must be carried when a feed fails."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from planner.types import Frozen
from profiles.types import Name

Budget = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class Feed(Frozen):
    """A source of power: a utility feed, a UPS, a generator line."""

    name: Name
    budget_w: Budget


class Pdu(Frozen):
    """A power distribution unit on one feed."""

    name: Name
    feed: Name
    budget_w: Budget


class SiteRow(Frozen):
    """A row of racks, drawing from ``pdus`` in equal parts; with a feed down, from those that are left.

    ``phases``: servers hang on one of that many; each phase of the row may carry ``budget_w / phases``.
    """

    name: Name
    pdus: tuple[Name, ...] = Field(min_length=1, max_length=4)
    budget_w: Budget
    slots: Annotated[int, Field(ge=1, le=100_000)]
    phases: Literal[1, 3] = 3


class Group(Frozen):
    """Servers of one workload to place; the workload says what they draw."""

    workload: Name
    num_servers: Annotated[int, Field(ge=1, le=100_000)]


class Site(Frozen):
    """``redundancy``: N, nothing may fail; N+1, any one feed may fail; 2N, the same with every row on two feeds.

    ``max_risk``: chance, at any one moment of the busiest hours, that a given budget is exceeded.
    ``max_imbalance``: how much more than the mean of its row's phases a phase may carry on average, as a fraction.
    """

    redundancy: Literal["N", "N+1", "2N"] = "2N"
    feeds: tuple[Feed, ...] = Field(min_length=1, max_length=100)
    pdus: tuple[Pdu, ...] = Field(min_length=1, max_length=1000)
    rows: tuple[SiteRow, ...] = Field(min_length=1, max_length=2000)
    groups: tuple[Group, ...] = Field(min_length=1, max_length=50)
    max_risk: Annotated[float, Field(gt=0, lt=0.5, allow_inf_nan=False)] = 1e-4
    max_imbalance: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.1

    @model_validator(mode="after")
    def _named_once(self) -> Site:
        named = {
            "feeds": [feed.name for feed in self.feeds],
            "pdus": [pdu.name for pdu in self.pdus],
            "rows": [row.name for row in self.rows],
            "groups": [group.workload for group in self.groups],
        }
        for field, names in named.items():
            twice = next((name for name, times in Counter(names).items() if times > 1), None)
            if twice is not None:
                raise ValueError(f"{field}: {twice!r} appears twice; names must differ")
        return self

    @model_validator(mode="after")
    def _connected(self) -> Site:
        feeds, feed_of = [feed.name for feed in self.feeds], {pdu.name: pdu.feed for pdu in self.pdus}
        for i, pdu in enumerate(self.pdus):
            if pdu.feed not in feeds:
                raise ValueError(f"pdus[{i}].feed: {pdu.feed!r} is not one of the feeds, {', '.join(feeds)}")
        for i, row in enumerate(self.rows):
            lost = next((name for name in row.pdus if name not in feed_of), None)
            if lost is not None:
                raise ValueError(f"rows[{i}].pdus: {lost!r} is not one of the pdus")
            if len(set(row.pdus)) < len(row.pdus):
                raise ValueError(f"rows[{i}].pdus: a PDU is there twice; name each once")
            num_feeds = len({feed_of[name] for name in row.pdus})
            if self.redundancy == "2N" and (len(row.pdus) != 2 or num_feeds != 2):
                raise ValueError(f"rows[{i}].pdus: 2N needs two PDUs on two feeds; or say redundancy: N+1")
            if self.redundancy == "N+1" and num_feeds < 2:
                raise ValueError(f"rows[{i}].pdus: all on one feed, whose failure would take the row down; add a PDU")
        return self

    @model_validator(mode="after")
    def _enough_slots(self) -> Site:
        asked, slots = sum(group.num_servers for group in self.groups), sum(row.slots for row in self.rows)
        if asked > slots:
            raise ValueError(f"groups: {asked:,} servers for {slots:,} slots of all rows; add rows or slots")
        return self
