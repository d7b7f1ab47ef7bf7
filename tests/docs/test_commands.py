"""Every command of the README and docs/ is run, page by page, as somebody reads them, and prints what the page shows.

A comment before a block says otherwise: ``<!-- not run: reason -->`` (its commands must exist all the same),
``<!-- exit: 3 -->`` (it ends so), ``<!-- server -->`` (it goes on while the blocks after it are run).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from planner.cli import app
from tests.docs.pages import PAGES_WITH_COMMANDS, ROOT, Block, name_of, shell_blocks

PORTS = ("8000", "8501")
"""Of the service and of the dashboard on the pages; others are free here, and take their place."""

STARTS_WITHIN_S = 60
TOLERANCE = 0.02
"""Of shown figures: solvers may stop anywhere within their gap, and replays are rounded."""

NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
TIME = re.compile(r"\d[\d,.]* (?:ms|s|min)\b")
"""How long it took: never the same."""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as the first command of a newcomer makes it."""
    from planner.command import initialise_store

    path = tmp_path_factory.mktemp("docs") / "gpuplan.db"
    initialise_store(f"sqlite:///{path}")[0].dispose()
    return path


@pytest.fixture
def desk(store: Path, tmp_path: Path) -> Path:
    """A folder as somebody has it who follows a page: a clone with its virtual environment, and a store."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(store, tmp_path / "gpuplan.db")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.fixture
def ports() -> dict[str, str]:
    """A free port for each that the pages name."""
    sockets = [socket.socket() for _ in PORTS]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    found = {name: str(each.getsockname()[1]) for name, each in zip(PORTS, sockets, strict=True)}
    for each in sockets:
        each.close()
    return found


@pytest.fixture
def servers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Servers of a page; ended with it."""
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for server in running:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=name_of)
def test_commands_work(
    page: Path,
    desk: Path,
    ports: dict[str, str],
    servers: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(desk)
    for name in os.environ:
        if name.startswith("GPUPLAN_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    for block in shell_blocks(page):
        if block.not_run:
            continue
        script = block.script
        for name, port in ports.items():
            script = re.sub(rf"\b{name}\b", port, script)
        if block.is_server:
            servers.append(
                subprocess.Popen(["bash", "-c", f"exec {script}"], start_new_session=True,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )  # fmt: skip
            dashboard = "dashboard" in script
            _await(f"{ports['8501']}/_stcore/health" if dashboard else f"{ports['8000']}/readyz")
            continue
        exit_code, printed = _run(script)
        assert exit_code == block.exit_code, f"{name_of(page)}, line {block.line}:\n{script}\n{printed}"
        if block.printed:
            _assert_prints(block, printed)


def _run(script: str) -> tuple[int, str]:
    """The exit code, and all that is printed. Calls of gpuplan alone are made in this process, for speed."""
    calls, separators = _calls(script)
    if separators <= set("\n&") and all(Path(call[0]).name == "gpuplan" for call in calls):
        printed = ""
        for call in calls:
            done = CliRunner().invoke(app, call[1:], prog_name="gpuplan")
            printed += done.output
            if done.exit_code:
                return done.exit_code, printed
        return 0, printed
    ended = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True)
    return ended.returncode, ended.stdout + ended.stderr


def _await(path: str) -> None:
    """Until a server on this machine answers."""
    ends = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < ends:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{path}", timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"no answer from {path} within {STARTS_WITHIN_S} s")


def _assert_prints(block: Block, output: str) -> None:
    """Each line that the page shows is printed: the same words, figures within ``TOLERANCE``; times are left out."""
    lines = [_words(line) for line in output.splitlines()]
    figures = [_figures(line) for line in output.splitlines()]
    for shown in block.printed.splitlines():
        words = _words(shown)
        if not words or words == "…":
            continue
        same = [numbers for line, numbers in zip(lines, figures, strict=True) if line == words]
        where = f"{name_of(block.page)}, after line {block.line}: {shown!r}"
        assert same, f"{where} is not printed:\n{output}"
        assert any(_near(numbers, _figures(shown)) for numbers in same), f"{where}: other figures:\n{output}"


def _words(line: str) -> str:
    return " ".join(NUMBER.sub("#", TIME.sub("", line)).split())


def _figures(line: str) -> list[float]:
    return [float(number.replace(",", "")) for number in NUMBER.findall(TIME.sub("", line))]


def _near(found: list[float], shown: list[float]) -> bool:
    return all(abs(a - b) <= TOLERANCE * max(abs(a), abs(b)) + 1e-9 for a, b in zip(found, shown, strict=True))


def _calls(script: str) -> tuple[list[list[str]], set[str]]:
    """Every call in a script, as words, and the characters that stand between calls."""
    text = re.sub(r"<<'END'.*?^END$", "", script, flags=re.MULTILINE | re.DOTALL).replace("\\\n", " ")
    words = shlex.shlex(text, posix=True, punctuation_chars="();<>|&\n")
    words.whitespace, words.whitespace_split = " \t", True
    calls: list[list[str]] = [[]]
    separators: set[str] = set()
    for word in words:
        if set(word) <= set("();<>|&\n"):
            separators |= set(word)
            calls.append([])
        else:
            calls[-1].append(word)
    return [call for call in calls if call], separators


EVERY_COMMAND = [
    pytest.param(block, words, id=f"{name_of(page)}:{block.line} {' '.join(words)[:60]}")
    for page in PAGES_WITH_COMMANDS
    for block in shell_blocks(page)
    for call, *words in _calls(block.text)[0]
    if Path(call).name == "gpuplan"
]


@pytest.mark.parametrize(("block", "words"), EVERY_COMMAND)
def test_commands_exist(block: Block, words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    path = "gpuplan"
    while words and words[0] in getattr(command, "commands", {}):
        path = f"{path} {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known.add("--help")
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in known, f"`{path}` has no option {word}"
    leaf = not getattr(command, "commands", {})
    assert leaf or not words or words[0].startswith("-"), f"`{path}` has no command {words[0]}"


def test_few_commands_are_not_run() -> None:
    """What is left out says why; most is run."""
    every = [block for page in PAGES_WITH_COMMANDS for block in shell_blocks(page)]
    left_out = [block for block in every if block.not_run]
    assert all(block.mark.partition(": ")[2] for block in left_out)
    assert len(left_out) < len(every) / 2


@pytest.mark.parametrize("output", ["cost $2.97 an hour", "power $2.67 an hour", ""])
def test_other_output_is_noticed(output: str) -> None:
    block = Block(ROOT / "README.md", 1, "bash", "gpuplan", "", "cost  $2.67 an hour, 1.5 s")
    _assert_prints(block, "cost  $2.68 an hour, 0.2 s")
    with pytest.raises(AssertionError):
        _assert_prints(block, output)
