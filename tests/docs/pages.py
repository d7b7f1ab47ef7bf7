"""The README and docs/ as data: pages, their fenced blocks, and what is said before a block about running it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
BESIDE = (ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md", ROOT / "examples" / "deploy" / "README.md")
"""Pages whose links are checked too."""

FENCE = re.compile(r"^```(\w*)\s*$")
COMMENT = re.compile(r"^<!-- (.*) -->$")


def name_of(page: Path) -> str:
    """A page as tests call it: its path from the root."""
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block. ``mark`` is the comment in the line before it, as in ``<!-- not run: needs a GPU -->``."""

    page: Path
    line: int
    language: str
    text: str
    mark: str
    printed: str
    """What the page shows as its output: the next block, if ``text`` and without ``<!-- not compared: reason -->``."""

    @property
    def not_run(self) -> str | None:
        """Why it is not run here, if it is not. What has ``ci:`` is run by ``.ci/run`` from a fresh clone; of the plan
        made there the last command, without the installation, is run here too.
        """
        return self.mark if self.mark.startswith(("not run: ", "ci: ")) and not self._installs_first else None

    @property
    def script(self) -> str:
        """What is run of it."""
        return self.text.rpartition("&& ")[2] if self._installs_first else self.text

    @property
    def _installs_first(self) -> bool:
        return self.mark.startswith("ci: plan")

    @property
    def exit_code(self) -> int:
        """What it has to end with: ``<!-- exit: 3 -->``, else 0."""
        return int(self.mark.removeprefix("exit: ")) if self.mark.startswith("exit: ") else 0

    @property
    def is_server(self) -> bool:
        """Runs until it is stopped, while the blocks after it are run: ``<!-- server -->``."""
        return self.mark == "server"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page in their order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    at = 0
    while at < len(lines):
        opening = FENCE.match(lines[at])
        if opening is None:
            at += 1
            continue
        end = lines.index("```", at + 1)
        comment = COMMENT.match(lines[at - 1]) if at else None
        text = "\n".join(lines[at + 1 : end])
        language = opening[1]
        block = Block(page, at + 1, language, text, comment[1] if comment else "", "")
        if language == "text" and not block.mark and found and found[-1].language == "bash":
            block = replace(found.pop(), printed=text)
        found.append(block)
        at = end + 1
    return found


def shell_blocks(page: Path) -> list[Block]:
    """The blocks of a page that people copy into a shell."""
    return [block for block in blocks(page) if block.language == "bash"]


PAGES_WITH_COMMANDS = [page for page in PAGES if shell_blocks(page)]
