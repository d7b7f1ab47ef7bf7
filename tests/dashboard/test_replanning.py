"""Questions that take a while: said, given up when they fail, and asked once."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from dashboard import replanning
from dashboard.client import Client, Document, Progress

ANSWER: Document = {"id": "a"}


class Shown(list[str]):
    """A place on the page that keeps what it was told to say."""

    def progress(self, _: float, text: str) -> None:
        self.append(text)

    def empty(self) -> None:
        return


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    place = Shown()
    monkeypatch.setattr(replanning.st, "empty", lambda: place)
    monkeypatch.setattr(replanning.st, "session_state", {})
    return place


def steps(*labels: str) -> Any:
    def make(self: Client, path: str, body: Document) -> Generator[Progress | Document]:
        for label in labels:
            yield Progress(0.0, label, "job")
        yield ANSWER

    return make


def ask(body: Document) -> Document:
    return replanning.answer(Client("http://127.0.0.1:9"), "/v1/plans", body, "Planning")


def test_who_waits_for_long_is_told_why_and_how_to_stop(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "make", steps(""))
    assert ask({"a": 1}) == ANSWER
    monkeypatch.setattr(replanning, "WAITS_LONG_S", 0.0)
    assert ask({"a": 2}) == ANSWER
    assert shown[0] == "Planning: waiting for a worker"
    assert "gives it up" in shown[1]


def test_labels_of_jobs_are_no_markup(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "make", steps("![x](http://e.example/x.png)"))
    ask({})
    assert "](" not in shown[0]


def test_the_same_is_asked_once(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "make", steps("solving"))
    assert ask({"a": 1}) == ask({"a": 1}) == ANSWER
    assert len(shown) == 1
