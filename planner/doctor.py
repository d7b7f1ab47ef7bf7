"""Whether gpuplan is well on this machine: each finding with what is wrong and the command that mends it."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from planner.errors import GpuplanError, StoreError
from planner.figures import counted
from planner.types import Frozen

if TYPE_CHECKING:
    from profiles.types import Facts

State = Literal["ok", "off", "warn", "fail"]
"""``off``: something optional that is not there."""

OLDEST_PRICES_DAYS = 60
"""Prices older than that are worth a look: spot prices move within weeks, list prices a few times a year."""

OLDEST_MEASUREMENTS_DAYS = 365
"""Engines get faster by tens of percent within a year."""

LEAST_DISK_GIB, DISK_FOR_COMFORT_GIB = 0.1, 1.0
"""The catalogue takes 1 MiB and a saved plan some 100 KiB, so that 1 GiB holds years of nights."""

LOCK_WAIT_S = 1.0
"""For another writer to finish: they take milliseconds."""

SOLVED_WITHIN_S = 30.0
"""For both solvers to start and solve, on a machine that is busy; a second otherwise."""

EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "api": ("gpuplan serve, worker, keys", ("fastapi", "limits", "sse_starlette", "structlog", "uvicorn")),
    "dashboard": ("gpuplan dashboard", ("altair", "fastapi", "httpx", "streamlit")),
    "docs": ("building the documentation", ("material", "mkdocs")),
    "gpu": ("gpuplan profiles measure gpu", ("pynvml", "torch")),
    "kubernetes": ("gpuplan apply --target kubernetes", ("kubernetes",)),
    "measure": ("gpuplan profiles measure endpoint", ("guidellm", "pynvml")),
    "otel": ("traces of requests to the service", ("opentelemetry",)),
    "parquet": ("Parquet files", ("pyarrow",)),
    "plot": ("gpuplan render --target plot, validate --plot x.png", ("matplotlib",)),
    "postgres": ("a store in PostgreSQL", ("psycopg",)),
    "prices": ("gpuplan profiles import gpuhunt", ("gpuhunt",)),
    "ray": ("gpuplan sweep --engine ray", ("ray",)),
    "replan": ("gpuplan replan", ("statsmodels",)),
}
"""What each extra of the package is for, and the modules that show that it is there."""


class Finding(Frozen):
    """One thing that was looked at. ``fix`` is a command, or empty where there is nothing to do."""

    name: str
    state: State
    detail: str
    fix: str = ""


def examine(database: str | None) -> Iterator[Finding]:
    """Look at everything; ``database`` is the URL of the store, None for the one that commands would use.

    Never raises for what is wrong: that is a finding.
    """
    # Most of the time goes into importing the solvers, so that process runs while this one looks at the rest.
    solvers = subprocess.Popen(
        [sys.executable, "-P", "-m", "planner.solver_trial"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )  # fmt: skip
    try:
        yield Finding(name="Python", state="ok", detail=f"{platform.python_version()} at {sys.executable}")
        yield Finding(name="gpuplan", state="ok", detail=f"{version('gpuplan')} at {Path(__file__).parents[1]}")
        yield from _machine()
        yield _settings()
        yield from _store(database)
        yield from _gpus()
        yield from _extras()
        yield from _solvers(solvers)
    finally:
        solvers.kill()
        solvers.communicate()


def _machine() -> Iterator[Finding]:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding(name="CPUs", state="ok", detail=f"{_usable_cpus()}, {memory_gib:.0f} GiB of memory")


def _usable_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _settings() -> Finding:
    from planner.settings import settings

    given = sorted(name for name in os.environ if name.startswith("GPUPLAN_"))
    try:
        settings()
    except GpuplanError as error:
        return Finding(
            name="settings", state="fail", detail=f"{error.field}: {error.detail}", fix=f"unset {error.field}"
        )
    return Finding(name="settings", state="ok", detail=", ".join(given) or "none in the environment")


def _store(database: str | None) -> Iterator[Finding]:
    from planner.command import DATABASE_VARIABLE
    from profiles.db import DEFAULT_URL, connect, shown, transaction, wait_for_writers
    from profiles.store import snapshot

    named = database or os.environ.get(DATABASE_VARIABLE) or None
    file = Path(DEFAULT_URL.removeprefix("sqlite:///"))
    if named is None and not file.exists():
        detail = f"none yet at {file.absolute()}; the first plan makes it from the catalogue"
        yield Finding(name="store", state="warn", detail=detail, fix="gpuplan init")
        yield _disk(file.absolute().parent)
        return
    try:
        engine = connect(named or DEFAULT_URL, lock_wait_s=LOCK_WAIT_S)
        facts = snapshot(engine)
    except StoreError as error:
        yield Finding(name="store", state="fail", detail=error.detail, fix=error.fix or "gpuplan init")
        return
    try:
        with transaction(engine) as session:
            session.connection()  # SQLite takes the lock of a writer here
            wait_for_writers(session)
    except StoreError as error:
        yield Finding(name="store", state="fail", detail=error.detail, fix=error.fix or "")
    else:
        held = {"serving measurements": facts.measurements, "prices": facts.prices, "models": facts.models,
                "GPU types": facts.gpus}  # fmt: skip
        listed = ", ".join(f"{len(kept):,} {name}" for name, kept in held.items())
        yield Finding(name="store", state="ok", detail=f"{shown(engine.url)}, may be written; {listed}")
    yield from _ages(facts, dt.datetime.now(dt.UTC).date())
    if engine.dialect.name == "sqlite" and engine.url.database:
        yield _disk(Path(engine.url.database).absolute().parent)
    engine.dispose()


def _ages(facts: Facts, today: dt.date) -> Iterator[Finding]:
    for name, days, oldest_days, fix in (
        ("prices", [price.as_of for price in facts.prices], OLDEST_PRICES_DAYS, "gpuplan profiles import gpuhunt"),
        ("measurements", [fact.as_of for fact in facts.measurements], OLDEST_MEASUREMENTS_DAYS,
         "gpuplan profiles measure endpoint URL --model M --gpu G"),
    ):  # fmt: skip
        if not days:
            yield Finding(name=name, state="warn", detail="none in the store", fix=fix)
            continue
        age_days = (today - max(days)).days
        old = age_days > oldest_days
        ago = f"{counted(age_days, 'day')} ago" if age_days > 0 else "today"
        yield Finding(name=name, state="warn" if old else "ok", fix=fix if old else "",
                      detail=f"the newest are of {max(days)}, {ago}")  # fmt: skip


def _disk(folder: Path) -> Finding:
    free_gib = shutil.disk_usage(folder).free / 2**30
    state: State = "ok" if free_gib >= DISK_FOR_COMFORT_GIB else "warn" if free_gib >= LEAST_DISK_GIB else "fail"
    fix = "" if state == "ok" else f"free space on the disk of {folder}"
    return Finding(name="disk", state=state, detail=f"{free_gib:,.1f} GiB free at {folder}", fix=fix)


def _gpus() -> Iterator[Finding]:
    """NVIDIA GPUs, by their driver's own tool: it is there where the driver is."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Finding(name="GPU", state="off", detail="none here; only measuring a GPU needs one")
        return
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - no shell
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding(name="GPU", state="warn", detail=f"nvidia-smi: {error}", fix="nvidia-smi")
        return
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[:1]
        yield Finding(name="GPU", state="warn", detail=f"nvidia-smi: {' '.join(said)}", fix="nvidia-smi")
        return
    for card in done.stdout.splitlines():
        yield Finding(name="GPU", state="ok", detail=", ".join(part.strip() for part in card.split(",")))


def _extras(there: Callable[[str], object] = find_spec) -> Iterator[Finding]:
    for extra, (purpose, modules) in EXTRAS.items():
        missing = [module for module in modules if there(module) is None]
        if not missing:
            yield Finding(name=f"[{extra}]", state="ok", detail=purpose)
            continue
        lacking = f"; lacks {', '.join(missing)}" if len(missing) < len(modules) else ""
        yield Finding(name=f"[{extra}]", state="off", detail=purpose + lacking, fix=f"pip install 'gpuplan[{extra}]'")


def _solvers(trial: subprocess.Popen[str]) -> Iterator[Finding]:
    fix = "pip install --force-reinstall gpuplan"  # which pins the two versions that fit each other
    try:
        text, errors = trial.communicate(timeout=SOLVED_WITHIN_S)
    except subprocess.TimeoutExpired:
        yield Finding(name="solvers", state="fail", detail=f"no answer within {SOLVED_WITHIN_S:g} s", fix=fix)
        return
    if trial.returncode:
        last = (errors.strip().splitlines() or [f"its process ended with {trial.returncode}"])[-1]
        yield Finding(name="solvers", state="fail", detail=last, fix=fix)
        return
    for solver, wrong in json.loads(text).items():
        yield Finding(name=solver, state="fail" if wrong else "ok", detail=wrong or "solves", fix=fix if wrong else "")
