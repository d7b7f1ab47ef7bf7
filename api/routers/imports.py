"""``/v1/profiles/import``: files of facts, which formats there are, and what a file holds before it is imported."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request, Response
from pydantic import Field, JsonValue
from starlette.concurrency import run_in_threadpool

from api.etags import tagged
from api.idempotency import MAY_REPEAT, once
from api.routing import ANY_FILE, READERS, Admin, Maker, v1_router
from planner import audit
from planner.errors import GpuplanError, InvalidInput
from planner.types import Frozen
from profiles import store
from profiles.db import connect
from profiles.ingest import FORMATS, Ingested, read
from profiles.ingest.format import Options
from profiles.names import KnownNames
from profiles.types import Batch, Facts, content_digest

router = v1_router("profiles")

MOST_PAIRS = 100
"""Models × GPUs that a preview names."""

T = TypeVar("T")


class Imported(Frozen):
    """What became of the facts of a file, by kind; ``notes`` say what was left out."""

    changes: dict[str, dict[str, int]]
    notes: tuple[str, ...] = ()


class Subject(Frozen):
    """What some facts of a file are about; null where their kind has none."""

    model: str | None
    gpu: str | None
    num: int
    num_known: int


class Preview(Frozen):
    """What a file holds: facts by kind, how many of these are known as they are, and what they are about."""

    num: dict[str, int]
    num_known: int
    subjects: tuple[Subject, ...]
    num_subjects: int
    notes: tuple[str, ...] = ()


class FormatEntry(Frozen):
    """A format of files; ``options`` are JSON Schemas of what a caller may have to say beside the file."""

    name: str
    description: str
    suffixes: tuple[str, ...]
    columns: tuple[str, ...]
    options: dict[str, JsonValue]


class FormatList(Frozen):
    """Every format."""

    formats: tuple[FormatEntry, ...]


class ImportOptions(Options):
    """The format of a file, and what it does not say itself."""

    format: str
    suffix: str = Field(
        default="", pattern=r"^(\.[a-z]{1,10})?$", description="of the file's name, where a format has several"
    )


SAME: dict[int | str, dict[str, Any]] = {304: {"description": "The same as `If-None-Match` says"}}
IMPORTED: dict[int | str, dict[str, Any]] = {201: {"model": Imported, "description": "What became of the facts"}}


@router.get("/profiles/formats", dependencies=[READERS], responses=SAME, response_model=FormatList)
def list_formats(request: Request) -> Response:
    """List the formats of files that can be imported, with the options that each takes."""
    schemas = Options.model_json_schema()["properties"]
    text = FormatList(formats=tuple(
        FormatEntry(
            name=one.name, description=one.description, suffixes=one.suffixes, columns=one.columns,
            options={option: schemas[option] for option in one.all_options},
        )
        for one in FORMATS.values()
    )).model_dump_json()  # fmt: skip
    return tagged(request, text.encode(), content_digest(text))


@router.post("/profiles/preview", response_model=Preview, openapi_extra=ANY_FILE)
async def preview_profiles(request: Request, _: Maker, options: Annotated[ImportOptions, Query()]) -> Response:
    """Read a file as an import would, and say what it holds. Nothing is kept."""
    text = await _apart(request, options, _previewed)
    return Response(text, media_type="application/json")


@router.post(
    "/profiles/import",
    dependencies=[MAY_REPEAT],
    status_code=201,
    response_model=None,
    responses=IMPORTED,
    openapi_extra=ANY_FILE,
)
async def import_profiles(request: Request, caller: Admin, options: Annotated[ImportOptions, Query()]) -> Response:
    """Import a file, wholly or not at all: the body is the file, in one of the formats of `/v1/profiles/formats`."""

    async def make(_: str) -> Response:
        text = await _apart(request, options, _imported)
        state = request.app.state
        state.facts.forget()
        await run_in_threadpool(
            audit.record, state.engine, caller.actor, "profiles.import", options.format,
            getattr(request.state, "request_id", None), json.loads(text)["changes"],
        )  # fmt: skip
        return Response(text, 201, media_type="application/json")

    return await once(request, caller, make)


async def _apart(request: Request, options: ImportOptions, function: Callable[[str, ImportOptions, bytes], str]) -> str:
    """What ``function`` makes of the body, in a process of its own."""
    content = await request.body()
    if not content:
        raise InvalidInput("is empty", field="body", fix="send the file as the body")
    state = request.app.state
    url = state.engine.url.render_as_string(hide_password=False)
    text: str = await state.apart.run(function, url, options, content)
    return text


def _imported(url: str, options: ImportOptions, content: bytes) -> str:
    engine = connect(url)
    ingested = _read(options, content, store.snapshot(engine))
    changes = store.add(engine, ingested.batch)
    return Imported(changes=asdict(changes), notes=ingested.notes).model_dump_json()


def _previewed(url: str, options: ImportOptions, content: bytes) -> str:
    facts = store.snapshot(connect(url))
    ingested = _read(options, content, facts)
    found: Counter[tuple[str | None, str | None]] = Counter()
    known: Counter[tuple[str | None, str | None]] = Counter()
    for kind in Batch.model_fields:
        stored = set(getattr(facts, kind))
        for fact in getattr(ingested.batch, kind):
            subject = (getattr(fact, "model", None), getattr(fact, "gpu", None))
            found[subject] += 1
            known[subject] += fact in stored
    subjects = tuple(
        Subject(model=model, gpu=gpu, num=num, num_known=known[model, gpu])
        for (model, gpu), num in found.most_common(MOST_PAIRS)
    )
    held = {kind: len(facts) for kind, facts in ingested.batch if facts}
    return Preview(num=held, num_known=known.total(), subjects=subjects, num_subjects=len(found),
                   notes=ingested.notes).model_dump_json()  # fmt: skip


def _read(options: ImportOptions, content: bytes, facts: Facts) -> Ingested:
    """The facts of a file; what is wrong with it is told without the folder that it lies in here."""
    suffixes = FORMATS[options.format].suffixes if options.format in FORMATS else ("",)
    given = options.model_dump(exclude={"format", "suffix"}, exclude_unset=True)
    with tempfile.TemporaryDirectory(prefix="gpuplan-import-") as directory:
        file = Path(directory) / f"body{options.suffix or suffixes[0]}"
        file.write_bytes(content)

        def told(text: str) -> str:
            return text.replace(f"{directory}/", "")

        try:
            return read(options.format, file, KnownNames.of(facts), **given)
        except GpuplanError as error:
            raise InvalidInput(
                told(error.detail), field=error.field and told(error.field), fix=error.fix,
                mistakes=[(told(field), told(detail)) for field, detail in error.mistakes],
            ) from None  # fmt: skip
