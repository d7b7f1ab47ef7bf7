"""What every command shares: its streams, the store it opens, and how errors become exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from planner.errors import FailedCheck, GpuplanError, InvalidInput, UnknownName

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from planner.types import Plan

Result = TypeVar("Result")

DATABASE_VARIABLE = "GPUPLAN_DATABASE_URL"

PLANS, SERVICE, FACTS, NIGHTLY, RUNNING, STORE = (
    "Plans", "Dashboard and service", "Facts", "Every night", "What runs", "Store and machine",
)  # fmt: skip
"""Parts of ``gpuplan --help``."""

Database = Annotated[
    str | None,
    typer.Option(
        "--database", metavar="URL", help=f"profile store; default {DATABASE_VARIABLE} or sqlite:///gpuplan.db"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="machine-readable output on stdout")]


def out() -> Console:
    """Console for answers. Made at each use, so that redirected streams are respected."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 140)


def err() -> Console:
    """Console for messages."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """Write ``document`` (or a JSON text) to stdout."""
    sys.stdout.write(document if isinstance(document, str) else json.dumps(document, default=str, indent=2))
    sys.stdout.write("\n")


def open_store(database: str | None) -> Engine:
    """The store to use. A missing default store is made from the built-in catalogue; one named by hand must exist."""
    from profiles.db import DEFAULT_URL, connect

    url = database or os.environ.get(DATABASE_VARIABLE) or None
    if url is None and not Path(DEFAULT_URL.removeprefix("sqlite:///")).exists():
        err().print(f"no profile store yet: making {DEFAULT_URL} from the built-in catalogue (gpuplan init)")
        with progressing("loading the catalogue"):
            return initialise_store(DEFAULT_URL)[0]
    return connect(url or DEFAULT_URL)


def initialise_store(url: str) -> tuple[Engine, Any]:
    """Create or upgrade the store at ``url`` and load the catalogue; the engine and what changed."""
    from profiles import catalogue, store
    from profiles.db import initialise

    engine = initialise(url)
    return engine, store.add(engine, catalogue.load())


def plan_named(name: str, database: str | None) -> Plan:
    """The plan in a file, or the saved one of that id; raises ``InvalidInput`` or ``UnknownName``."""
    from planner.provision.history import saved_plan
    from planner.service import read_plan

    if os.path.exists(name) or Path(name).suffix:  # pathlib's raises where a name is too long
        return read_plan(Path(name))
    try:
        return saved_plan(open_store(database), name)
    except UnknownName:
        raise UnknownName(
            "plan", name, (), fix="give a file that `gpuplan plan ... --out FILE` wrote, or the id of a saved plan"
        ) from None


@contextmanager
def progressing(message: str, at_most_s: float | None = None) -> Iterator[None]:
    """A progress bar on stderr, on a terminal only: how far ``planner.progress`` is told to be, else that time passes.

    ``at_most_s`` is the time limit, where the work has one.
    """
    console = err()
    if not console.is_terminal:
        yield
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from planner.progress import showing

    limit = () if at_most_s is None else (TextColumn(f"of at most {at_most_s:g} s"),)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), *limit)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(message, total=None)

        def show(label: str, fraction: float) -> None:
            described = f"{message}: {label}" if label else message
            bar.update(task, description=described, total=1.0, completed=fraction)

        with showing(show):
            yield


def write_whole(path: Path, content: str | bytes, option: str = "--out") -> None:
    """Write a file so that it is there whole or not at all; ``option`` named it on the command line."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            beside.write_bytes(content)
        else:
            beside.write_text(content, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise InvalidInput(
            f"cannot be written: {error.strerror}", field=str(path), fix=f"choose another {option}"
        ) from None
    finally:
        with suppress(OSError):  # it may not be there, nor the directory
            beside.unlink(missing_ok=True)


def reports_errors(function: Callable[..., Result]) -> Callable[..., Result]:
    """Turn the expected failures of a command into a message on stderr and their exit code.

    With ``--json`` the message is a problem object (RFC 9457), so that machines can read why.
    """

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Result:
        try:
            return function(*args, **kwargs)
        except GpuplanError as error:
            _report(error, as_json=bool(kwargs.get("json_output")))
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if error.filename is not None or isinstance(error, BrokenPipeError):
                raise  # a file that nobody explained is a defect; a closed pipe ends quietly in typer
            _report(
                InvalidInput(f"the output cannot be written: {error.strerror}"), as_json=bool(kwargs.get("json_output"))
            )
            raise typer.Exit(InvalidInput.exit_code) from None
        except KeyboardInterrupt:
            err().print("interrupted")
            raise typer.Exit(130) from None

    return wrapped


def _report(error: GpuplanError, *, as_json: bool) -> None:
    if as_json:
        problem: dict[str, Any] = {"title": error.title, "status": error.http_status, "detail": error.detail,
                                   "field": error.field, "fix": error.fix}  # fmt: skip
        if error.mistakes:
            problem["errors"] = [{"field": field, "detail": detail} for field, detail in error.mistakes]
        sys.stderr.write(json.dumps(problem) + "\n")
        return
    console = err()
    style = "bold red" if isinstance(error, FailedCheck) else "red"
    console.print(f"[{style}]{error.title}[/]: ", end="")
    console.print(str(error), markup=False)
