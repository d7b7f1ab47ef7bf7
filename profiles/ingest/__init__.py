"""Facts out of the files that other tools write: one file here per format, one way in.

``read`` returns every fact of a file or raises; nothing is imported by halves. ``survey`` goes on past the bad rows
of a table and says what is wrong with each. ``gpuplan`` is our own format, and ``write`` its inverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from profiles.errors import InvalidInput, UnknownName
from profiles.ingest import (
    aibrix,
    aiperf,
    fsdp_throughput,
    gpuhunt,
    gpuplan,
    gpuplan_journal,
    guidellm,
    helix,
    hf_config,
    inference_latency,
    inference_power,
    melange,
    nccl_allreduce,
    nccl_tests,
    skypilot_catalogue,
    splitwise,
    training_iterations,
    vllm_bench,
)
from profiles.ingest.format import Format, Ingested, Options, flag
from profiles.ingest.gpuplan import write
from profiles.ingest.problems import first_problem
from profiles.ingest.table import Row, Skip, WrongHeader, each_row
from profiles.names import KnownNames
from profiles.types import Measurement, TrainingMeasurement

__all__ = ["FORMATS", "Format", "Ingested", "Row", "flag", "options_of", "read", "survey", "survey_training", "write"]

Measured = TypeVar("Measured", Measurement, TrainingMeasurement)

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        gpuplan,
        gpuplan_journal,
        inference_latency,
        inference_power,
        splitwise,
        helix,
        vllm_bench,
        guidellm,
        aiperf,
        melange,
        aibrix,
        hf_config,
        skypilot_catalogue,
        gpuhunt,
        training_iterations,
        fsdp_throughput,
        nccl_allreduce,
        nccl_tests,
    )
}
"""Every format by its name on the command line."""


def read(format_name: str, path: Path | None, known: KnownNames, /, **options: object) -> Ingested:
    """All facts of ``path``, a file in the format ``format_name``, with GPUs and models under their ``known`` names.

    Without a path, what an installed package knows (``Format.ask``), for formats that have one.

    ``options`` add what the file does not say (``FORMATS[...].all_options``; None is absent). Raises ``UnknownName``
    for a format, GPU or option that does not exist, and ``InvalidInput`` for a file or option that cannot be meant,
    listing up to 20 bad rows at once.
    """
    chosen, given = options_of(format_name, options)
    if path is None:
        if chosen.ask is None:
            raise InvalidInput("is missing", field="FILE", fix=f"gpuplan profiles import {format_name} FILE")
        return chosen.ask(known, given)
    _check_suffix(chosen, Path(path))
    with _guessing_format():
        return chosen.read(Path(path), known, given)


def options_of(format_name: str, options: Mapping[str, object]) -> tuple[Format, Options]:
    """The format of that name and what ``options`` mean to it; raises ``read``'s errors, without a file."""
    chosen = FORMATS.get(format_name)
    if chosen is None:
        raise UnknownName("format", format_name, FORMATS, fix=f"formats: {', '.join(FORMATS)}")
    return chosen, _options(chosen, {name: value for name, value in options.items() if value is not None})


def survey(format_name: str, path: Path, known: KnownNames) -> list[tuple[Row, Measurement | InvalidInput]]:
    """Every row of ``path`` in order, duplicates included, with its measurement or with what is wrong with it.

    For formats whose rows can be parsed one by one (``Format.parse``). Raises ``InvalidInput`` where the file as a
    whole is unusable: missing, empty, not a table, without the columns of the format or without rows.
    """
    chosen = FORMATS[format_name]
    if chosen.parse is None:
        raise ValueError(f"{format_name} files cannot be surveyed row by row")
    return _survey(chosen, chosen.parse, path, known)


def survey_training(path: Path, known: KnownNames) -> list[tuple[Row, TrainingMeasurement | InvalidInput]]:
    """As ``survey``, for a file of training steps in whichever format its columns are."""
    iterations, throughput = training_iterations.FORMAT, fsdp_throughput.FORMAT
    try:
        return _survey(iterations, training_iterations.parse, path, known)
    except WrongHeader as error:
        if not {*throughput.columns} <= {*error.header}:
            raise
        return _survey(throughput, fsdp_throughput.parse, path, known)


def _survey(
    chosen: Format, parse: Callable[[Row, KnownNames, Options], Measured], path: Path, known: KnownNames
) -> list[tuple[Row, Measured | InvalidInput]]:
    _check_suffix(chosen, path)
    found: list[tuple[Row, Measured | InvalidInput]] = []
    with _guessing_format():
        for row, told in each_row(
            path, chosen.columns, lambda row: parse(row, known, Options()), reference=chosen.name
        ):
            found.append((row, InvalidInput(str(told)) if isinstance(told, Skip) else told))
    return found


def _check_suffix(chosen: Format, path: Path) -> None:
    if path.suffix and path.suffix.lower() not in chosen.suffixes:
        raise InvalidInput(
            f"{chosen.name} files end in {' or '.join(chosen.suffixes)}, not {path.suffix}",
            field=path.name,
            fix=_formats_for(path.suffix.lower()),
        )


@contextmanager
def _guessing_format() -> Iterator[None]:
    """Name the format that a file with another header looks like."""
    try:
        yield
    except WrongHeader as error:
        alike = [other for other in FORMATS.values() if other.columns and {*other.columns} <= {*error.header}]
        if alike:
            closest = max(alike, key=lambda other: len(other.columns))
            error.fix = f"this looks like {closest.name}: read it as that"
        raise


def _options(chosen: Format, given: dict[str, object]) -> Options:
    for name in given:
        if name not in chosen.all_options:
            takes = ", ".join(flag(option) for option in chosen.all_options)
            raise InvalidInput(f"{chosen.name} takes no such option", field=flag(name), fix=f"it takes {takes}")
    try:
        return Options.model_validate(given)
    except ValidationError as error:
        problem = first_problem(error, {name: flag(name) for name in given}, "")
        raise problem from error


def _formats_for(suffix: str) -> str:
    names = [other.name for other in FORMATS.values() if suffix in other.suffixes]
    return f"formats with {suffix} files: {', '.join(names)}" if names else "export it as CSV or JSON"
