"""The picture of predicted against measured."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from profiles.errors import InvalidInput
from profiles.types import Facts
from profiles.validate import PARTS, Compared, Judged, Report, parity_html, parity_png, validate

Write = Callable[..., Path]
NASTY = '</title><script>alert("1")</script>&<img src=x onerror=alert(1)>\x1b[31m'


class Tags(HTMLParser):
    """Counts the tags of a page, collects the text of titles, and checks that tags close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.open: list[str] = []
        self.titles: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "title":
            self.titles.append(data)


def report(*rows: Judged, quantities: tuple[str, ...] = ("ttft_ms",), file: str = "rows.csv") -> Report:
    return Report("serving", file, "store", None, "0" * 32, quantities, rows, (), (), len(rows), 0, ())


def judged(predicted: float, measured: float, *, model: str = "m", origin: str = "measured") -> Judged:
    return Judged(12, model, "H100", "H100 ×1", origin, "store", {"ttft_ms": Compared(predicted, measured, 0.1)})


def test_every_row_is_a_point_of_every_quantity_and_tells_itself(write: Write, facts: Facts) -> None:
    found = validate(PARTS["serving"], write("serving", {}, {"tp": "2"}, {"concurrency": "64"}), facts)
    page = Tags(parity_html(found))
    assert page.open == []
    assert page.counts["svg"] == 3
    assert page.counts["circle"] == 9
    told = [title for title in page.titles if title.startswith("line 3: ")]
    assert len(told) == 3
    assert all("Llama-3.1-8B-Instruct on H100 ×2 bf16 vllm; 1024 in, 256 out, 8 in flight" in t for t in told)
    assert "measured 101.5 (" in told[0]


def test_what_a_file_says_cannot_become_markup() -> None:
    text = parity_html(report(judged(10, 12, model=NASTY), file=NASTY))
    page = Tags(text)
    assert page.open == []
    assert not {"script", "img"} & set(page.counts)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "\x1b" not in text
    assert any('<script>alert("1")</script>' in title for title in page.titles)


def test_the_page_needs_nothing_from_elsewhere(write: Write, facts: Facts) -> None:
    text = parity_html(validate(PARTS["serving"], write("serving", {}), facts))
    assert not re.search(r"https?:|src=|href=|@import|url\(", text)


def test_a_point_lies_where_its_values_are() -> None:
    text = parity_html(report(judged(10, 10), judged(1000, 1000), judged(100, 100, origin="roofline")))
    points = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', text)]
    x, y = zip(*points, strict=True)
    assert x[0] < x[2] < x[1]
    assert y[0] > y[2] > y[1]
    assert x[2] - x[0] == pytest.approx(x[1] - x[2], abs=0.2)  # equal factors are equal distances
    assert x[1] - x[0] == pytest.approx(y[0] - y[1], abs=0.2)  # and the axes are alike


@pytest.mark.parametrize("value", [1e-9, 1.0, 99.9, 1e12])
def test_a_single_point_still_has_axes(value: float) -> None:
    page = Tags(parity_html(report(judged(value, value))))
    assert page.counts["circle"] == 1
    assert page.counts["text"] > 2


def test_of_very_many_rows_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[parity_html.__module__], "MOST_POINTS", 10)
    text = parity_html(report(*[judged(10 + i, 12) for i in range(25)]))
    assert Tags(text).counts["circle"] == 9
    assert "one row in 3 is drawn" in text
    assert "is drawn" not in parity_html(report(*[judged(10 + i, 12) for i in range(10)]))


def test_nothing_predicted_is_a_page_without_pictures() -> None:
    page = Tags(parity_html(report()))
    assert page.open == []
    assert "svg" not in page.counts


def test_a_png_without_matplotlib_is_refused_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InvalidInput, match="needs matplotlib") as error:
        parity_png(report(judged(10, 12)))
    assert "gpuplan[plot]" in (error.value.fix or "")
    assert ".html" in (error.value.fix or "")


def test_a_png_is_a_picture() -> None:
    pytest.importorskip("matplotlib")
    for rows in ([], [judged(10, 12, model="$\\bad")], [judged(10, 12), judged(1e6, 1e3, origin="roofline")]):
        assert parity_png(report(*rows)).startswith(b"\x89PNG\r\n")
