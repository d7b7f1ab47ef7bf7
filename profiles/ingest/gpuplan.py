"""Our own files: a CSV table of measurements, or JSON with any facts. ``write`` is the inverse of ``read``.

Columns and keys are the field names of ``profiles.types``; a blank cell is the field's default. ``--source`` and
``--as-of`` fill in where a fact has none of its own.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from profiles.errors import InvalidInput
from profiles.ingest.document import Node, read_document
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.problems import Problems, listed, problems_of
from profiles.ingest.table import Row, read_rows
from profiles.names import KnownNames
from profiles.types import Batch, Facts, Measurement

FIELDS = tuple(Measurement.model_fields)
KINDS = tuple(Batch.model_fields)
ON_GPUS = tuple(kind for kind in KINDS if kind not in ("gpus", "prices", "grid", "models"))
"""Kinds of facts that name a GPU."""
REQUIRED = ("model", "gpu")


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Facts in ``path``; raises ``InvalidInput`` listing up to 20 of those that cannot be meant."""
    return _read_json(path, known, options) if path.suffix.lower() == ".json" else _read_csv(path, known, options)


def write(batch: Batch, path: Path) -> tuple[str, ...]:
    """Write ``batch`` to ``path``, whole or not at all; returns notes on what was left out.

    ``.json`` holds everything, ``.csv`` the measurements. Raises ``InvalidInput`` for another suffix and where the
    file cannot be written.
    """
    notes: tuple[str, ...] = ()
    if path.suffix.lower() == ".json":
        text = batch.model_dump_json(include=set(KINDS), exclude_defaults=True, indent=1) + "\n"
    elif path.suffix.lower() == ".csv":
        text = _csv(batch.measurements)
        others = [
            f"{len(facts)} {kind}" for kind in KINDS if kind != "measurements" and (facts := getattr(batch, kind))
        ]
        if others:
            notes = (f"{', '.join(others)} left out: a CSV file holds measurements; write .json for everything",)
    else:
        raise InvalidInput(
            f"cannot write {path.suffix or 'a file without suffix'}", field=str(path), fix="end it in .csv or .json"
        )
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InvalidInput(f"cannot be written: {error.strerror or error}", field=str(path)) from error
    return notes


def _csv(measurements: Iterable[Measurement]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(measured.model_dump(mode="json") for measured in measurements)
    return text.getvalue()


def _read_csv(path: Path, known: KnownNames, options: Options) -> Ingested:
    columns = {field: field for field in FIELDS}

    def parse(row: Row) -> Measurement:
        return row.build(
            Measurement,
            columns,
            model=known.model(row["model"]),
            gpu=known.gpu(row["gpu"], row.where("gpu")),
            source=row["source"] or options.source,
            as_of=row["as_of"] or options.as_of,
        )

    measurements, notes = read_rows(path, REQUIRED, parse, reference=FORMAT.name, allowed=FIELDS)
    return Ingested(Batch(measurements=tuple(measurements)), tuple(notes))


def _read_json(path: Path, known: KnownNames, options: Options) -> Ingested:
    document = read_document(path, FORMAT.name)
    if not any(kind in document for kind in KINDS):
        raise InvalidInput(f"holds none of {listed(KINDS)}", field=path.name, fix="give a file that gpuplan exported")
    for fact in (fact.value for kind in KINDS for fact in document / kind):
        if isinstance(fact, dict):
            fact["source"] = fact.get("source") or options.source
            fact["as_of"] = fact.get("as_of") or options.as_of
    try:
        # Facts, because a snapshot is a batch that carries its digest; what is read is the batch in it.
        facts = Facts.model_validate(document.value)
    except ValidationError as error:
        raise problems_of(error, path.name) from error
    batch = Batch(**{kind: tuple(dict.fromkeys(getattr(facts, kind))) for kind in KINDS})
    return Ingested(_resolved(batch, known, document))


def _resolved(batch: Batch, known: KnownNames, document: Node) -> Batch:
    """``batch`` with GPUs and models under their own names, where those in the batch itself are known too."""
    here = KnownNames.of(batch)
    known = KnownNames(gpus={**known.gpus, **here.gpus}, models={**known.models, **here.models})
    problems = Problems(document.file)
    resolved: dict[str, tuple[object, ...]] = {}
    for kind in ON_GPUS:
        facts = []
        for index, fact in enumerate(getattr(batch, kind)):
            try:
                names = {"gpu": known.gpu(fact.gpu, f"{document.file}: {kind}[{index}].gpu")}
            except InvalidInput as problem:
                problems.add(problem)
                continue
            if hasattr(fact, "model"):
                names["model"] = known.model(fact.model)
            facts.append(fact.model_copy(update=names))
        resolved[kind] = tuple(facts)
    problems.raise_any()
    return batch.model_copy(update=resolved)


FORMAT = Format(
    name="gpuplan",
    description="our own files, as export writes them: measurements (CSV) or any facts (JSON)",
    suffixes=(".csv", ".json"),
    read=read,
    columns=REQUIRED,
)
