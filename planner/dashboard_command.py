"""``gpuplan dashboard``: the what-if dashboard, with a service of its own beside it unless one is named.

Both run as child processes and end with this one, however it ends (``planner.tied``). The dashboard speaks REST only:
nothing of it is imported here.
"""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from planner import command
from planner.command import Database, Json, reports_errors
from planner.errors import GpuplanError, InvalidInput
from planner.tied import ENDS_WITHIN_S

API_VARIABLE, KEY_VARIABLE = "GPUPLAN_API_URL", "GPUPLAN_API_KEY"

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""End the dashboard, as a closed terminal does."""

READY_WITHIN_S = 60.0
"""For both to answer, on a machine that is busy."""

LOOKED_AT_EVERY_S = 0.1
"""Between two looks at whether both still run."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
"""Names by which a browser may ask for a dashboard of this machine. Others are of pages that want to use it unseen."""


@reports_errors
def dashboard(
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="of the dashboard; 0: a free one")] = 8501,
    host: Annotated[
        str, typer.Option("--host", help="address to listen on; beyond loopback every visitor needs an API key")
    ] = "127.0.0.1",
    api: Annotated[
        str | None,
        typer.Option("--api", metavar="URL", help=f"a service that runs; default {API_VARIABLE}, or one of its own"),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="do not open a browser")] = False,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Open the what-if dashboard in a browser. Ctrl+C ends it.

    Example: gpuplan dashboard --port 8501
    """
    script = _script()
    port, on_loopback = _free_port(host, port)
    url = f"http://{_shown(host)}:{port}"
    api = api or os.environ.get(API_VARIABLE) or None
    with _until_a_signal(), ExitStack() as children:
        running = {}
        with command.progressing("starting"):
            if api is None:
                service = children.enter_context(_service(database, require_key=not on_loopback))
                running["service"], api = service, _announced(service)
            elif not on_loopback:
                _refuse_an_open_service(api)
            running["dashboard"] = children.enter_context(_dashboard(script, host, port, api, on_loopback))
            _wait_for(f"{url}/_stcore/health", running)
            if "service" in running:
                _wait_for(f"{api}/healthz", running)
        if json_output:
            command.print_json({"url": url, "api": api})
            sys.stdout.flush()
        else:
            command.err().print(f"the dashboard is at {url} (service: {api}); Ctrl+C ends it", markup=False)
        if not no_browser and _has_a_screen():
            webbrowser.open(url)
        while True:
            _check_alive(running)
            time.sleep(LOOKED_AT_EVERY_S)


def _script() -> Path:
    """The file that Streamlit runs. Raises ``InvalidInput`` where a package of the extra is missing."""
    found = find_spec("dashboard")
    if found is None or found.origin is None or not all(map(find_spec, ("streamlit", "altair", "httpx", "fastapi"))):
        raise InvalidInput("the dashboard is not installed", fix="pip install 'gpuplan[dashboard]'")
    return Path(found.origin).with_name("app.py")


def _free_port(host: str, port: int) -> tuple[int, bool]:
    """The port to use, and whether only this machine can reach it there; ``InvalidInput`` where it is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:  # UnicodeError: no name at all
        raise InvalidInput(f"{host!r} is no address of this machine ({error})", field="--host") from None
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what still closes does not stop a restart
        try:
            trial.bind(address)
        except OSError as error:
            raise InvalidInput(
                f"cannot listen on {host} port {port}: {error.strerror}", field="--port",
                fix="choose another --port (0 takes any free one), or stop what uses it",
            ) from None  # fmt: skip
        name, free, *_ = trial.getsockname()
    return free, ipaddress.ip_address(name.partition("%")[0]).is_loopback


@contextmanager
def _service(database: str | None, *, require_key: bool) -> Iterator[subprocess.Popen[str]]:
    """A service of our own, on a free port of the loopback."""
    words = ["serve", "--host", "127.0.0.1", "--port", "0", "--json", *(["--require-key"] if require_key else [])]
    environment = {
        "GPUPLAN_LOG_LEVEL": "warning", "GPUPLAN_LOG_FORMAT": "text",
        "GPUPLAN_WORKERS": "2",  # what takes minutes, such as a row of servers, leaves one for the pages
        **os.environ,
    }  # fmt: skip
    if database:
        environment[command.DATABASE_VARIABLE] = database  # not on the command line: it may hold a password
    with _child(["planner.cli", *words], environment, subprocess.PIPE) as process:
        yield process


@contextmanager
def _dashboard(script: Path, host: str, port: int, api: str, on_loopback: bool) -> Iterator[subprocess.Popen[str]]:
    """Streamlit, told where the service is."""
    from planner.settings import settings

    options: dict[str, object] = {
        "server.address": host, "server.port": port,
        "server.headless": True,  # without it, Streamlit asks for an e-mail address first
        "server.fileWatcherType": "none", "server.maxUploadSize": max(int(settings().most_body_mib), 1),
        "browser.gatherUsageStats": False,
    }  # fmt: skip
    flags = [f"--{name}={value}" for name, value in options.items()]
    if on_loopback:
        flags += [f"--server.allowedHosts={name}" for name in LOOPBACK_NAMES]
    environment = {**os.environ, API_VARIABLE: api}
    environment.pop(command.DATABASE_VARIABLE, None)  # may hold a password, and is nothing that it needs
    if not on_loopback:
        environment.pop(KEY_VARIABLE, None)  # every visitor types their own: this one is not theirs
    with _child(["streamlit", "run", str(script), *flags], environment, subprocess.DEVNULL) as process:
        yield process


@contextmanager
def _child(words: list[str], environment: dict[str, str], stdout: int) -> Iterator[subprocess.Popen[str]]:
    """A module and its words, as a process that runs for as long as the block does."""
    path = os.pathsep.join(entry for entry in sys.path if entry)  # it imports what this process imports
    with subprocess.Popen(  # noqa: S603 - no shell
        [sys.executable, "-P", "-m", "planner.tied", *words], env={**environment, "PYTHONPATH": path}, text=True,
        stdin=subprocess.PIPE, stdout=stdout, start_new_session=True,  # Ctrl+C is for this process alone
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(ENDS_WITHIN_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):  # or a second Ctrl+C: at once
                process.kill()
                process.wait()


def _announced(service: subprocess.Popen[str]) -> str:
    """Where the service listens: it says so before it can answer."""
    text = ""
    for line in service.stdout or ():
        text += line
        if line == "}\n":
            return str(json.loads(text)["url"])
    raise typer.Exit(service.wait())  # it has said why on stderr


def _refuse_an_open_service(api: str) -> None:
    """A service that is open to this machine would be open to whoever reaches a dashboard on it."""
    import httpx

    try:
        answer = httpx.get(f"{api.rstrip('/')}/v1/plans", params={"limit": 1}, timeout=10)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InvalidInput(f"cannot be reached ({error})", field="--api", fix="start the service first") from None
    if answer.status_code != httpx.codes.UNAUTHORIZED:
        raise InvalidInput(
            f"answers without a key ({answer.status_code}), so every visitor of the dashboard would be let in",
            field="--api", fix="start it with `gpuplan serve --require-key`, or leave out --host",
        )  # fmt: skip


def _wait_for(url: str, running: dict[str, subprocess.Popen[str]]) -> None:
    """Until ``url`` answers."""
    import httpx

    end_s = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < end_s:
        _check_alive(running)
        try:
            if httpx.get(url, timeout=2, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            time.sleep(LOOKED_AT_EVERY_S)
    raise GpuplanError(
        f"the dashboard did not answer within {READY_WITHIN_S:g} s", fix="try again, or see `gpuplan doctor`"
    )


def _check_alive(running: dict[str, subprocess.Popen[str]]) -> None:
    for name, process in running.items():
        if (code := process.poll()) is not None:
            how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
            raise GpuplanError(f"the {name} ended by itself ({how})", fix="lines above may say why; start it again")


@contextmanager
def _until_a_signal() -> Iterator[None]:
    """Ends the block at a signal, through everything that has to be ended with it."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in SIGNALS}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _shown(host: str) -> str:
    """The host in a URL that a browser can open."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not listened on
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _has_a_screen() -> bool:
    """A person at a terminal, with a browser that has a window: not one that takes the terminal over."""
    windows = not sys.platform.startswith("linux") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    return windows and sys.stderr.isatty()
