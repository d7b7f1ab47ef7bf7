"""What is known, read and written as facts: rows never leave this file.

One record per kind of fact says which table keeps it and what names a row; everything else here works on
all kinds alike.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Engine, Select, Table, bindparam, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from profiles.db import reading, transaction, wait_for_writers
from profiles.errors import InvalidInput, StoreError, UnknownName
from profiles.tables import (
    BandwidthMeasurementRow,
    Base,
    CollectiveMeasurementRow,
    GemmMeasurementRow,
    GpuTypeRow,
    GridIntensityRow,
    InstanceTypeRow,
    LayerMeasurementRow,
    MeasurementRow,
    ModelCardRow,
    PriceRow,
    RateProfileRow,
    TrainingMeasurementRow,
)
from profiles.types import (
    BandwidthMeasurement,
    Batch,
    CollectiveMeasurement,
    Fact,
    Facts,
    GemmMeasurement,
    GpuType,
    GridIntensity,
    InstanceType,
    LayerMeasurement,
    MeasuredFact,
    Measurement,
    ModelCard,
    Price,
    RateProfile,
    TrainingMeasurement,
    content_digest,
)

F = TypeVar("F", bound=Fact)
Row = dict[str, Any]
Key = tuple[Any, ...]
_OnGpu = (
    InstanceType
    | Measurement
    | LayerMeasurement
    | RateProfile
    | GemmMeasurement
    | BandwidthMeasurement
    | TrainingMeasurement
    | CollectiveMeasurement
)

_CHUNK = 500
"""Keys per look-up: with five columns each, far below the parameters that either database takes at once."""


@dataclass(frozen=True)
class Change:
    """What became of the facts of one kind. An incoming fact older than the stored one leaves it unchanged."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0

    def __str__(self) -> str:
        counts = dataclasses.asdict(self)
        return ", ".join(f"{count} {verb}" for verb, count in counts.items() if count) or "none"


@dataclass(frozen=True)
class Changes:
    """What became of a batch, kind by kind; ``str`` of it is the sentence for people."""

    gpus: Change = Change()
    instances: Change = Change()
    prices: Change = Change()
    grid: Change = Change()
    models: Change = Change()
    measurements: Change = Change()
    layer_measurements: Change = Change()
    rate_profiles: Change = Change()
    gemms: Change = Change()
    bandwidths: Change = Change()
    training_measurements: Change = Change()
    collectives: Change = Change()

    def __str__(self) -> str:
        changes = ((field.name.replace("_", " "), getattr(self, field.name)) for field in dataclasses.fields(self))
        return "; ".join(f"{noun}: {change}" for noun, change in changes if change != Change()) or "nothing to add"


@dataclass(frozen=True)
class _Kind(Generic[F]):
    """How one kind of fact is kept: the field of ``Batch`` it fills, its type, its table, and the order it is read in.

    An order names columns that together are unique, so that it is the same every time and everywhere.
    """

    field: str
    fact: type[F]
    table: Table
    order: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.table.primary_key)


def _kind(field: str, fact: type[F], row: type[Base], *order: str) -> _Kind[F]:
    table = Base.metadata.tables[row.__tablename__]
    return _Kind(field, fact, table, order or tuple(column.name for column in table.primary_key))


_MEASUREMENTS = _kind(
    "measurements", Measurement, MeasurementRow,
    "model", "gpu", "precision", "engine", "tp", "pp", "dp", "ep", "input_tokens", "output_tokens", "concurrency",
    "digest",
)  # fmt: skip
_PRICES = _kind("prices", Price, PriceRow)
_KINDS: tuple[_Kind[Any], ...] = (
    _kind("gpus", GpuType, GpuTypeRow),
    _kind("instances", InstanceType, InstanceTypeRow),
    _PRICES,
    _kind("grid", GridIntensity, GridIntensityRow),
    _kind("models", ModelCard, ModelCardRow),
    _MEASUREMENTS,
    _kind(
        "layer_measurements", LayerMeasurement, LayerMeasurementRow,
        "model", "gpu", "num_gpus", "phase", "size", "digest",
    ),
    _kind("rate_profiles", RateProfile, RateProfileRow),
    _kind("gemms", GemmMeasurement, GemmMeasurementRow, "gpu", "precision", "m", "n", "k", "digest"),
    _kind(
        "bandwidths", BandwidthMeasurement, BandwidthMeasurementRow,
        "gpu", "access", "num_bytes", "digest",
    ),
    _kind(
        "training_measurements", TrainingMeasurement, TrainingMeasurementRow,
        "model", "gpu", "num_gpus", "framework", "global_batch", "sequence_length", "tp", "pp", "dp", "micro_batch",
        "digest",
    ),
    _kind(
        "collectives", CollectiveMeasurement, CollectiveMeasurementRow,
        "gpu", "operation", "num_gpus", "num_nodes", "num_bytes", "digest",
    ),
)  # fmt: skip
"""Whoever is referred to comes before who refers, so that this is also the order of writing."""


_last_read: deque[Facts] = deque(maxlen=1)


def add(engine: Engine, batch: Batch) -> Changes:
    """Write everything in ``batch``, or nothing.

    Facts of the same name compete by ``as_of``: the later one stays, and on the same day the incoming one.
    Measurements are their content, and prices include their day, so both only ever accumulate.

    Raises
    ------
    UnknownName
        If a fact refers to a GPU or an instance type that is neither stored nor in the batch.
    InvalidInput
        If a number does not fit the database.
    StoreError
        If the database is locked, corrupt, read-only, full or out of reach.
    """
    with transaction(engine) as session:
        wait_for_writers(session)
        _require_known_gpus(session, batch)
        _require_known_instances(session, batch)
        return Changes(**{kind.field: _write(session, kind, getattr(batch, kind.field)) for kind in _KINDS})


def snapshot(engine: Engine) -> Facts:
    """Everything known at this moment, with the digest of it; of prices only the newest of each.

    Equal facts give equal digests, whichever database they lie in and in whatever order they came; read again while
    nothing changed, they are the same object, so that what was learned from them can be kept.

    Raises
    ------
    StoreError
        If the database is out of reach, or a row was damaged by hand and no longer makes a valid fact.
    """
    with reading(engine) as session:
        facts = Facts(**{kind.field: tuple(_read(session, kind, _all(kind))) for kind in _KINDS})
    digest = content_digest(facts.model_dump_json(exclude={"digest"}))
    for known in tuple(_last_read):
        if known.digest == digest:
            return known
    facts = facts.model_copy(update={"digest": digest})
    _last_read.append(facts)
    return facts


def measurements(
    engine: Engine, *, model: str | None = None, gpu: str | None = None, limit: int | None = None, offset: int = 0
) -> tuple[Measurement, ...]:
    """The measurements of ``model`` on ``gpu`` (None: of all), in a fixed order, ``limit`` of them from ``offset`` on.

    Raises
    ------
    InvalidInput
        If ``limit`` or ``offset`` is negative.
    StoreError
        As ``snapshot`` does.
    """
    for name, value in (("limit", limit), ("offset", offset)):
        if value is not None and not 0 <= value < 2**63:
            raise InvalidInput(f"must be zero or more, not {value}", field=name)
    query = _all(_MEASUREMENTS).limit(limit).offset(offset)
    columns = _MEASUREMENTS.table.c
    if model is not None:
        query = query.where(columns.model == model)
    if gpu is not None:
        query = query.where(columns.gpu == gpu)
    with reading(engine) as session:
        return tuple(_read(session, _MEASUREMENTS, query))


def counts(engine: Engine) -> dict[str, int]:
    """How many facts of each kind are stored, by the names that ``Batch`` gives them; old prices count.

    Raises
    ------
    StoreError
        If the database is out of reach.
    """
    with reading(engine) as session:
        return {
            kind.field: session.execute(select(func.count()).select_from(kind.table)).scalar_one() for kind in _KINDS
        }


def _require_known_gpus(session: Session, batch: Batch) -> None:
    known = set(session.scalars(select(GpuTypeRow.name))) | {gpu.name for gpu in batch.gpus}
    referring: dict[str, Sequence[_OnGpu]] = {
        "instances": batch.instances,
        "measurements": batch.measurements,
        "layer_measurements": batch.layer_measurements,
        "rate_profiles": batch.rate_profiles,
        "gemms": batch.gemms,
        "bandwidths": batch.bandwidths,
        "training_measurements": batch.training_measurements,
        "collectives": batch.collectives,
    }
    for field, facts in referring.items():
        for index, fact in enumerate(facts):
            if fact.gpu not in known:
                raise UnknownName("GPU", fact.gpu, sorted(known), field=f"{field}[{index}].gpu")


def _require_known_instances(session: Session, batch: Batch) -> None:
    if not batch.prices:
        return
    stored = session.execute(select(InstanceTypeRow.provider, InstanceTypeRow.name))
    known = {(provider, name) for provider, name in stored} | {(i.provider, i.name) for i in batch.instances}
    for index, price in enumerate(batch.prices):
        if (price.provider, price.instance_type) not in known:
            of_provider = sorted(name for provider, name in known if provider == price.provider)
            kind = f"instance type of {price.provider}"
            raise UnknownName(kind, price.instance_type, of_provider, field=f"prices[{index}].instance_type")


def _write(session: Session, kind: _Kind[F], facts: Iterable[F]) -> Change:
    incoming: dict[Key, Row] = {}
    num_facts = 0
    for row in map(_row, facts):
        num_facts += 1
        key = tuple(row[column] for column in kind.key)
        if key not in incoming or row["as_of"] >= incoming[key]["as_of"]:
            incoming[key] = row
    stored = dict(_stored(session, kind, list(incoming)))
    added = [row for key, row in incoming.items() if key not in stored]
    updated = [
        row for key, row in incoming.items()
        if key in stored and row["as_of"] >= stored[key]["as_of"] and row != stored[key]
    ]  # fmt: skip
    if added:
        session.execute(insert(kind.table), added)
    if updated:
        _update(session, kind, updated)
    return Change(added=len(added), updated=len(updated), unchanged=num_facts - len(added) - len(updated))


def _row(fact: Fact) -> Row:
    row = fact.model_dump()
    if isinstance(fact, MeasuredFact | LayerMeasurement):
        row["digest"] = fact.digest
    return row


def _stored(session: Session, kind: _Kind[F], keys: list[Key]) -> Iterator[tuple[Key, Row]]:
    columns = [kind.table.c[name] for name in kind.key]
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        # One column is looked up by itself: both databases index `digest IN (...)` better than `(digest) IN ((...))`.
        wanted = columns[0].in_([key[0] for key in chunk]) if len(columns) == 1 else tuple_(*columns).in_(chunk)
        for row in _fetch(session, kind, select(kind.table).where(wanted)):
            yield tuple(row[name] for name in kind.key), row


def _update(session: Session, kind: _Kind[F], rows: list[Row]) -> None:
    columns = [column.name for column in kind.table.c if column.name not in kind.key]
    statement = update(kind.table).values({name: bindparam(f"new_{name}") for name in columns})
    for name in kind.key:
        statement = statement.where(kind.table.c[name] == bindparam(f"key_{name}"))
    parameters = [
        {f"new_{name}": row[name] for name in columns} | {f"key_{name}": row[name] for name in kind.key}
        for row in rows
    ]  # fmt: skip
    session.connection().execute(statement, parameters)


def _all(kind: _Kind[F]) -> Select[Any]:
    columns = kind.table.c
    query = select(*(columns[name] for name in kind.fact.model_fields)).order_by(*_ordering(kind))
    if kind is _PRICES:
        *what, day = (columns[name] for name in kind.key)
        query = query.where(tuple_(*what, day).in_(select(*what, func.max(day)).group_by(*what)))
    return query


def _ordering(kind: _Kind[F]) -> Iterator[ColumnElement[Any]]:
    for name in kind.order:
        column = kind.table.c[name]
        # SQLite sorts NULL first and PostgreSQL last; only numbers above zero are ever NULL here.
        yield func.coalesce(column, 0) if column.nullable else column


def _read(session: Session, kind: _Kind[F], query: Select[Any]) -> Iterator[F]:
    for row in _fetch(session, kind, query):
        try:
            yield kind.fact.model_validate(row)
        except ValueError as error:
            name = ", ".join(str(row[column]) for column in kind.order if column in row)
            raise _damaged(kind, f"the row of {name}", error) from error


def _fetch(session: Session, kind: _Kind[F], query: Select[Any]) -> Iterator[Row]:
    try:
        result = session.execute(query)
        names = tuple(result.keys())
        rows = result.all()
    except ValueError as error:  # a day or a JSON array that does not parse
        raise _damaged(kind, "a row", error) from error
    return (dict(zip(names, row, strict=True)) for row in rows)


def _damaged(kind: _Kind[F], where: str, error: ValueError) -> StoreError:
    reason = " ".join(str(error).split())
    return StoreError(
        f"{where} in table {kind.table.name} makes no valid {kind.fact.__name__}: {reason}",
        fix="correct or delete that row, or restore the database from a backup",
    )
