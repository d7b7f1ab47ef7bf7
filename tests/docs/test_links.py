"""Pages hang together: links and anchors resolve on a forge as on the site, pictures are there and have a text."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import BESIDE, DOCS, PAGES, ROOT, name_of

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
MOST_BYTES = 150_000
"""Of a picture: pages load at once."""


def _prose(page: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"``[^`].*?``|`[^`\n]*`", lambda code: "" if "](" in code[0] else code[0], text)


def _slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {_slug(heading) for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)}


@pytest.mark.parametrize("page", [*PAGES, *BESIDE], ids=name_of)
def test_links_resolve(page: Path) -> None:
    for picture, text, target in LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} does not exist"
        assert there.is_relative_to(ROOT), f"{target} is outside of the repository"
        if anchor:
            assert anchor in _anchors(there), f"{name_of(there)} has no heading #{anchor}"
        if picture:
            assert len(text) > 20, f"{target} needs a text that says what it shows"
            assert there.stat().st_size < MOST_BYTES, f"{target} is larger than {MOST_BYTES:,} bytes"


def test_every_picture_is_shown() -> None:
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for picture, _, target in LINK.findall(page.read_text(encoding="utf-8"))
        if picture and ":" not in target
    }
    assert {path.resolve() for path in (DOCS / "images").glob("*")} <= shown


def test_every_page_is_in_the_index() -> None:
    """Who reads on a forge has no menu: the index names every page."""
    listed = {
        (DOCS / target.partition("#")[0]).resolve()
        for _, _, target in LINK.findall((DOCS / "index.md").read_text(encoding="utf-8"))
    }
    assert {page for page in DOCS.rglob("*.md") if page.name != "index.md"} <= listed


def test_site_builds(tmp_path: Path) -> None:
    """MkDocs finds nothing to warn of, and the pages load nothing from elsewhere."""
    if shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("needs the extra `docs` (mkdocs)")
    call = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r"<(?:link|script|img)\b[^>]*?(?:href|src)=\"?(https?:[^\"\s>]+)", page.read_text())
        assert [url for url in loaded if "canonical" not in url] == [], f"{page.name} loads from elsewhere"
