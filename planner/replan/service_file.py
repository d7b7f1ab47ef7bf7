"""A saved service as people write it: YAML or JSON, its spec and histories beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planner.documents import read_document, validated
from planner.errors import InvalidInput
from planner.replan.refresh import check
from planner.replan.service import SavedService


def read_service(path: Path) -> SavedService:
    """The service in a file. ``spec`` may be the path of a serving spec; all paths are relative to the file's folder,
    and absolute in what is returned, as a nightly job runs anywhere.

    Raises ``InvalidInput`` where a file cannot be read or holds a mistake, or a named file is not there.
    """
    document = read_document(path)
    if not isinstance(document, dict):
        return validated(SavedService, document, str(path))
    folder = path.parent.resolve()
    if isinstance(document.get("spec"), str):
        from planner.serving.load import load

        document = {**document, "spec": load(folder / document["spec"], {})}
    service = validated(SavedService, document, str(path))
    demand = tuple(
        source.model_copy(update={"files": tuple(_there(folder / file, path) for file in source.files)})
        for source in service.demand
    )
    check(service.refresh)
    renewed = tuple(
        source if source.file is None else source.model_copy(update={"file": _there(folder / source.file, path)})
        for source in service.refresh
    )
    return service.model_copy(update={"demand": demand, "refresh": renewed})


def paths_of(service: SavedService) -> tuple[Path, ...]:
    """Every file that planning the service reads."""
    renewed = (source.file for source in service.refresh if source.file is not None)
    return (*(file for source in service.demand for file in source.files), *renewed)


def _there(file: Path, source: Path) -> Path:
    if not file.is_file():
        raise InvalidInput(f"names {file}, which is not there", field=str(source), fix="check the path")
    return file


def shown(service: SavedService) -> dict[str, Any]:
    """The service as a document that ``read_service`` reads again."""
    return service.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
