"""The commands of the service: ``serve``, ``worker``, ``keys``, ``backup``, ``restore``. The command line adds them."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner import command
from planner.command import Database, Json, reports_errors
from planner.errors import InvalidInput

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from api.access.keys import Key
    from planner.settings import Settings

keys_app = typer.Typer(no_args_is_help=True, help="API keys: gpuplan keys create NAME --scope read --scope plan")

MetricsPort = Annotated[
    int | None,
    typer.Option("--metrics-port", min=0, max=65_535, help="also show /metrics there, without a key (0: a free port)"),
]
MetricsHost = Annotated[str, typer.Option("--metrics-host", help="address for --metrics-port")]


def register(app: typer.Typer) -> None:
    """Add the commands of the service to the command line."""
    for panel, functions in {command.SERVICE: (serve, worker), command.STORE: (backup, restore)}.items():
        for function in functions:
            app.command(rich_help_panel=panel)(function)
    app.add_typer(keys_app, name="keys", rich_help_panel=command.SERVICE)


@reports_errors
def serve(
    host: Annotated[str | None, typer.Option("--host", help="address to listen on; default 127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65_535, help="default 8000; 0: a free one")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, max=256, help="worker processes beside the server; default 1")
    ] = None,
    require_key: Annotated[
        bool, typer.Option("--require-key", help="on loopback too, as behind a proxy on this machine")
    ] = False,
    tls_certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", metavar="PEM", dir_okay=False, help="serve HTTPS with this")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="PEM", dir_okay=False, help="its private key")
    ] = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Serve plans over HTTP. On loopback nobody needs a key; elsewhere everybody does.

    Example: gpuplan serve --port 8000
    """
    from api.ops import run

    if (tls_certificate is None) != (tls_key is None):
        raise InvalidInput("goes with --tls-key", field="--tls-certificate", fix="give both or none")
    tls = run.Tls(tls_certificate, tls_key) if tls_certificate and tls_key else None
    settings = _settings(database, host=host, port=port, workers=workers)
    with contextlib.closing(run.listen(settings.host, settings.port)) as listening:
        engine = command.open_store(database)
        open_to_loopback = run.is_loopback(listening) and not require_key
        if not open_to_loopback:
            _refuse_without_keys(engine, "--require-key" if require_key else "--host")
        with _operating(engine, settings, metrics_host, metrics_port) as metrics_at:
            _announce(listening.getsockname(), tls is not None, open_to_loopback, metrics_at, json_output)
            run.serve(engine, settings, listening, open_to_loopback=open_to_loopback, tls=tls)


@reports_errors
def worker(
    processes: Annotated[int, typer.Option("--processes", min=1, max=256, help="worker processes")] = 1,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Work on jobs of servers that use the same store.

    Example: gpuplan worker --processes 4 --database postgresql://user@host/gpuplan
    """
    from api.ops import run

    settings = _settings(database, workers=processes)
    engine = command.open_store(database)
    with _operating(engine, settings, metrics_host, metrics_port) as metrics_at:
        if json_output:
            command.print_json({"processes": processes, "metrics": metrics_at})
        else:
            command.err().print(
                f"{processes} worker process{'' if processes == 1 else 'es'}; Ctrl+C ends the work", markup=False
            )
        run.work(engine, settings)


@keys_app.command("create")
@reports_errors
def create_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="who or what will use it")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="read, plan, provision, admin; default: read")
    ] = None,
    expires_days: Annotated[float | None, typer.Option("--expires-days", help="default: never")] = None,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Make a key. It is shown once: only a digest of it is kept.

    Example: gpuplan keys create nightly --scope read --scope plan --expires-days 90
    """
    from api.access import keys_store

    engine = command.open_store(database)
    key, text = keys_store.create(engine, name, tuple(scope or ["read"]), _days(expires_days))
    _record(engine, "key.create", key)
    if json_output:
        command.print_json({**_shown(key), "key": text})
    else:
        command.err().print(f"key {key.id} for {key.name}, {', '.join(key.scopes)}: shown only now", markup=False)
        command.out().print(text, markup=False, soft_wrap=True)


@keys_app.command("list")
@reports_errors
def list_keys(database: Database = None, json_output: Json = False) -> None:
    """List every key there was, oldest first.

    Example: gpuplan keys list
    """
    from api.access import keys_store
    from planner.draw import draw_table
    from planner.types import Table

    found = keys_store.keys(command.open_store(database))
    if json_output:
        command.print_json([_shown(key) for key in found])
        return
    rows = tuple(
        (key.id, key.name, " ".join(key.scopes), f"{key.created_at:%Y-%m-%d}",
         f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never", _state(key))
        for key in found
    )  # fmt: skip
    columns = ("id", "name", "scopes", "made", "last used", "state")
    draw_table(Table(title="Keys", columns=columns, rows=rows), command.out())


@keys_app.command("revoke")
@reports_errors
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="as `gpuplan keys list` shows it")],
    database: Database = None,
    json_output: Json = False,
) -> None:
    """End a key. Servers stop taking it within 5 seconds.

    Example: gpuplan keys revoke 3f2a9c
    """
    from api.access import keys_store

    engine = command.open_store(database)
    key = keys_store.revoke(engine, key_id)
    _record(engine, "key.revoke", key)
    if json_output:
        command.print_json(_shown(key))
    else:
        command.out().print(f"key {key.id} of {key.name}: revoked", markup=False)


@reports_errors
def backup(
    file: Annotated[Path, typer.Argument(help="the copy; an older one is replaced")],
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Copy the store while it is in use (SQLite; PostgreSQL has pg_dump).

    Example: gpuplan backup gpuplan-monday.db
    """
    from dataclasses import asdict

    from profiles import backup as backups

    with command.progressing("copying"):
        copy = backups.backup(_settings(database).database_url, file)
    if json_output:
        command.print_json(asdict(copy))
    else:
        command.out().print(f"{copy.path}: {copy.size_bytes / 2**20:.1f} MiB, schema {copy.schema}", markup=False)


@reports_errors
def restore(
    file: Annotated[Path, typer.Argument(help="a copy that `gpuplan backup` made")],
    yes: Annotated[bool, typer.Option("--yes", help="replace the store")] = False,
    database: Database = None,
    json_output: Json = False,
) -> None:
    """Put a copy in the store's place, while nothing uses the store. What was there is kept as FILE.before-restore.

    Example: gpuplan restore gpuplan-monday.db --yes
    """
    from dataclasses import asdict

    from profiles import backup as backups
    from profiles.db import SCHEMA_REVISION

    if not yes:
        raise InvalidInput("replaces the store", field="restore", fix="add --yes if you mean it")
    with command.progressing("copying"):
        copy = backups.restore(_settings(database).database_url, file)
    if json_output:
        command.print_json(asdict(copy))
        return
    command.out().print(f"{copy.path}: restored from {file}, schema {copy.schema}", markup=False)
    if copy.before:
        command.out().print(f"  what was there: {copy.before}", markup=False)
    if copy.schema != SCHEMA_REVISION:
        command.out().print("  an older version made it: run `gpuplan init` to upgrade it", markup=False)


def _settings(database: str | None, **options: Any) -> Settings:
    """The settings of the environment, with the options of a command in front of them."""
    from planner.settings import settings

    given = {name: value for name, value in {"database_url": database, **options}.items() if value is not None}
    return settings().model_copy(update=given)


@contextlib.contextmanager
def _operating(engine: Engine, settings: Settings, metrics_host: str, metrics_port: int | None) -> Iterator[str | None]:
    """What serving and working share: logs, metrics (where they are shown, or None), and a hold on the store."""
    from api.ops.sharing import share
    from profiles.backup import in_use

    with in_use(settings.database_url), share(), contextlib.ExitStack() as stack:
        from api.ops.exporter import exporting, pages
        from api.ops.logs import configure

        metrics_at = None
        if metrics_port is not None:
            port = stack.enter_context(exporting(pages(engine), metrics_host, metrics_port))
            metrics_at = f"http://{metrics_host}:{port}/metrics"
        configure(settings)
        yield metrics_at


def _refuse_without_keys(engine: Engine, option: str) -> None:
    from api.access import keys_store

    if not keys_store.any_live(engine):
        raise InvalidInput(
            "everybody needs a key then, and there is none", field=option,
            fix="make one first: gpuplan keys create NAME --scope admin",
        )  # fmt: skip


def _announce(
    address: tuple[Any, ...], tls: bool, open_to_loopback: bool, metrics_at: str | None, json_output: bool
) -> None:
    host, port = address[:2]
    url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    if json_output:
        command.print_json({"url": url, "metrics": metrics_at, "needs_key": not open_to_loopback})
        return
    say: Callable[..., None] = command.err().print
    say(f"gpuplan listens on {url} (documentation: {url}/docs)", markup=False)
    if metrics_at:
        say(f"  metrics, without a key: {metrics_at}", markup=False)
    if open_to_loopback:
        say("  whoever is on this machine may use it; to serve others:", markup=False)
        say("  gpuplan keys create NAME --scope read --scope plan; gpuplan serve --host 0.0.0.0", markup=False)


def _days(days: float | None) -> dt.timedelta | None:
    if days is None:
        return None
    try:
        return dt.timedelta(days=days)
    except (OverflowError, ValueError):  # ValueError: not a number
        raise InvalidInput("is no number of days that can be meant", field="--expires-days") from None


def _record(engine: Engine, action: str, key: Key) -> None:
    from planner.audit import cli_actor, record

    record(engine, cli_actor(), action, key.id, detail={"name": key.name, "scopes": list(key.scopes)})


def _shown(key: Key) -> dict[str, Any]:
    moments = {"created_at": key.created_at, "expires_at": key.expires_at, "revoked_at": key.revoked_at,
               "last_used_at": key.last_used_at}  # fmt: skip
    return {
        "id": key.id, "name": key.name, "scopes": key.scopes, "state": _state(key),
        **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
    }  # fmt: skip


def _state(key: Key) -> str:
    from planner.identity import now

    if key.revoked_at:
        return "revoked"
    return "live" if key.is_live(now()) else "expired"
