"""Serving specs from files: our YAML or JSON, a Mélange configuration, and traces that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from planner.documents import explained, only_file, read_document, validated
from planner.errors import InvalidInput
from planner.serving.melange import from_melange, is_melange
from planner.serving.observed import Reading, observe
from planner.serving.spec import ServingSpec, Workload


class TraceFile(Reading):
    """A workload taken from what was seen, as a spec file writes it. Paths are relative to the spec file."""

    trace: Path = Field(description="a trace, log or benchmark report of single requests, or metrics of vLLM")


def load(paths: Path | Sequence[Path], options: dict[str, Any]) -> ServingSpec:
    """The spec in one file. ``options["trace"]``: a trace file that replaces the workload of the only service.

    Raises
    ------
    InvalidInput
        A file cannot be read, or holds a mistake, named by its path.
    """
    path = only_file(paths)
    document = read_document(path)
    if is_melange(document):
        if options.get("trace") is not None:
            raise InvalidInput(
                "has no place beside a Mélange config, whose rates are for its own request sizes",
                field="--trace", fix="leave it out, or write a spec like examples/chat.yaml",
            )  # fmt: skip
        try:
            return from_melange(document, path.stem)
        except InvalidInput as error:
            raise InvalidInput(error.detail, field=f"{path}: {error.field}", fix=error.fix) from None
        except ValidationError as error:
            raise explained(error, ServingSpec, str(path)) from None
    if not isinstance(document, dict):
        return validated(ServingSpec, document, str(path))
    services = document.get("services")
    if isinstance(services, list):
        override = options.get("trace")
        if override is not None and len(services) != 1:
            raise InvalidInput(f"cannot tell which of {len(services)} services the trace is for", field="--trace",
                               fix="name it in the spec: workload: {trace: FILE}")  # fmt: skip
        document = {**document, "services": [_with_trace(entry, i, path, override) for i, entry in enumerate(services)]}
    return validated(ServingSpec, document, str(path))


def _with_trace(entry: Any, index: int, path: Path, override: Path | None) -> Any:
    """The service entry with its trace, if it names one, read into buckets."""
    if not isinstance(entry, dict):
        return entry
    workload = entry.get("workload")
    if override is not None:
        return {**entry, "workload": observe([override]).workload}
    if isinstance(workload, dict) and "trace" in workload:
        return {**entry, "workload": _traced(workload, index, path)}
    return entry


def _traced(workload: dict[str, Any], index: int, path: Path) -> Workload:
    source = validated(TraceFile, workload, f"{path}: services[{index}].workload")
    return observe([path.parent / source.trace], source).workload
