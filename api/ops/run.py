"""Runs a server, or workers alone, until a signal ends them."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import math
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import structlog
from sqlalchemy import Engine

from api.jobs.supervisor import Supervisor
from api.ops import store
from planner.errors import InvalidInput, StoreError
from planner.identity import new_id
from planner.settings import Settings

SIGNALS = (signal.SIGINT, signal.SIGTERM)

BACKLOG = 2048
"""Connections that may wait while the server is busy: uvicorn's own default."""

LOOKED_AT_EVERY_S = 0.25
"""Between two looks at how many workers live: how late the store may learn that one came or went."""

_log = structlog.get_logger("gpuplan.ops")


@dataclass(frozen=True)
class Tls:
    """Files of a certificate (with its chain) and its private key, both PEM; ``InvalidInput`` where they do not fit."""

    certificate: Path
    key: Path

    def __post_init__(self) -> None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.certificate, self.key, lambda: "")
        except OSError as error:  # an SSLError is one
            raise InvalidInput(
                f"cannot be used ({error})", field="--tls-certificate",
                fix="name a PEM certificate and its key, which has no password",
            ) from None  # fmt: skip


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address, or the first address of a name; port 0 takes a free one.

    Raises ``InvalidInput`` where that is not possible.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name at all
        raise InvalidInput(f"{host!r} is no address of this machine ({error})", field="--host") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what still closes does not stop a restart
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise InvalidInput(
            f"cannot listen on {host} port {port}: {error.strerror}", field="--port",
            fix="choose another --port (0 takes any free one), or stop what uses it",
        ) from None  # fmt: skip
    return listening


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def serve(
    engine: Engine, settings: Settings, listening: socket.socket, *, open_to_loopback: bool, tls: Tls | None
) -> None:
    """Answer requests, with ``settings.workers`` worker processes beside, until SIGTERM or SIGINT.

    Then: no new requests; those under way and running jobs get ``shutdown_s`` each; other jobs are queued again.
    """
    # Both take most of a second to import, together; the socket listens meanwhile. What they leave stays for good:
    # looking for garbage in it would only hold up the start, and later a request now and then.
    gc.disable()
    import uvicorn

    from api.app import create_app
    from api.ops.tracing import trace_if_asked

    stopping = _stopping()
    supervisor = Supervisor(settings.database_url, settings, settings.workers) if settings.workers else None
    app = create_app(engine, settings, open_to_loopback=open_to_loopback, supervisor=supervisor)
    trace_if_asked(app)
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, ws="none",
            proxy_headers=False,  # who is asking is decided by the connection, never by what it says
            timeout_graceful_shutdown=math.ceil(settings.shutdown_s),
            ssl_certfile=str(tls.certificate) if tls else None, ssl_keyfile=str(tls.key) if tls else None,
        )
    )  # fmt: skip
    gc.freeze()
    gc.enable()
    with _known(engine, supervisor) if supervisor else contextlib.nullcontext():
        if not stopping.is_set():
            server.run(sockets=[listening])  # the application starts and stops the supervisor


def work(engine: Engine, settings: Settings) -> None:
    """Run ``settings.workers`` worker processes until SIGTERM or SIGINT; running jobs get ``shutdown_s`` then."""
    stopping = _stopping()
    supervisor = Supervisor(settings.database_url, settings, settings.workers)
    with _known(engine, supervisor):
        supervisor.start()
        stopping.wait()
        _log.info("stopping")
        supervisor.stop()


def _stopping() -> Event:
    """Set by a signal. Uvicorn raises those that it got once more when it has ended: nothing more is to happen then."""
    event = Event()
    for number in SIGNALS:
        signal.signal(number, lambda *_: event.set())
    return event


@contextlib.contextmanager
def _known(engine: Engine, supervisor: Supervisor) -> Iterator[None]:
    """Have the store know how many workers live."""
    workers_id, ended = new_id(), Event()
    signs = Thread(target=_give_signs, args=(engine, workers_id, supervisor.alive, ended), name="signs", daemon=True)
    signs.start()
    try:
        yield
    finally:
        ended.set()
        signs.join()
        with contextlib.suppress(StoreError):  # then it learns by their silence
            store.sign_off(engine, workers_id)


def _give_signs(engine: Engine, workers_id: str, alive: Callable[[], int], ended: Event) -> None:
    said, said_s = -1, 0.0
    while not ended.wait(LOOKED_AT_EVERY_S):
        num_alive = alive()
        if num_alive == said and time.monotonic() - said_s < store.SEEN_EVERY_S:
            continue
        said, said_s = num_alive, time.monotonic()
        try:
            store.sign_of_life(engine, workers_id, num_alive)
        except StoreError as error:
            _log.warning("no sign of life given", reason=str(error))
