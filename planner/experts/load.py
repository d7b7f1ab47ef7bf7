"""Expert specs from files: our YAML or JSON, or recorded loads and traces as they are, one workload per file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from planner.documents import read_document, validated
from planner.errors import InvalidInput
from planner.experts.recorded import Recorded, is_recording, read_recording
from planner.experts.spec import ExpertsSpec

OPTIONS = ("gpus", "nodes", "slots_per_gpu", "groups", "current", "max_moves")


def load(paths: Path | Sequence[Path], options: dict[str, Any]) -> ExpertsSpec:
    """The request in one spec file, or in one or several recordings of load together with ``options``.

    ``options``: gpus, nodes, slots_per_gpu, groups, current (a plan or SGLang map file), max_moves; None means not
    given. Beside a spec file they replace what it says.

    Raises
    ------
    InvalidInput
        A file cannot be read or holds a mistake, or an option is missing; names the file or option and a fix.
    """
    files = [paths] if isinstance(paths, Path) else list(paths)
    if not files:
        raise InvalidInput("no file is given", fix="give a spec, or files with logical_count")
    given = {name: options[name] for name in OPTIONS if options.get(name) is not None}
    if "current" in given:
        given["current"] = _current(Path(given["current"]))
    recordings = [path for path in files if is_recording(path)]
    if not recordings:
        if len(files) > 1:
            raise InvalidInput("is a spec, of which only one can be planned at a time", field=str(files[1]))
        return _from_spec(files[0], given)
    if len(recordings) < len(files):
        spec = next(path for path in files if path not in recordings)
        raise InvalidInput("is no recording of load but is given beside some", field=str(spec),
                           fix="name the recordings inside the spec: workloads: [{counts: FILE}]")  # fmt: skip
    return _from_recordings(recordings, given)


def _from_recordings(files: list[Path], given: dict[str, Any]) -> ExpertsSpec:
    for name in ("gpus", "slots_per_gpu"):
        if name not in given:
            raise InvalidInput("is needed to plan from a recording of load", field=f"--{name.replace('_', '-')}",
                               fix=f"add --{name.replace('_', '-')} N")  # fmt: skip
    document: dict[str, Any] = {"name": files[0].stem, **_without_topology(given), "topology": _topology({}, given)}
    workloads: list[dict[str, Any]] = []
    for path in files:
        recorded = read_recording(path)
        workloads += _workloads(recorded, path.stem)
        for name, array in (("trace", recorded.trace), ("transitions", recorded.transitions)):
            if array is None:
                continue
            if name in document:
                raise InvalidInput(f"holds a second {name}", field=str(path), fix="give one trace, or join them first")
            document[name] = array
    _number_twins(workloads)
    return validated(ExpertsSpec, {**document, "workloads": workloads}, ", ".join(map(str, files[:3])))


def _from_spec(path: Path, given: dict[str, Any]) -> ExpertsSpec:
    document = read_document(path)
    if not isinstance(document, dict):
        return validated(ExpertsSpec, document, str(path))
    if "outcome" in document:
        raise InvalidInput("is a plan, not a spec", field=str(path),
                           fix="give a spec or recorded loads; to move from this plan, add --current PLAN")  # fmt: skip
    document = {**document, **_without_topology(given)}
    if {"gpus", "nodes", "slots_per_gpu"} & given.keys():
        document["topology"] = _topology(document.get("topology"), given)
    if isinstance(document.get("current"), str):
        document["current"] = _current(path.parent / document["current"])
    for name in ("trace", "transitions"):
        if isinstance(document.get(name), str):
            source = path.parent / document[name]
            array = getattr(read_recording(source, only=name), name)
            if array is None:
                raise InvalidInput(f"holds no {name}", field=str(source))
            document[name] = array
    if isinstance(document.get("workloads"), list):
        document["workloads"] = [read for entry in document["workloads"] for read in _read_counts(entry, path.parent)]
    return validated(ExpertsSpec, document, str(path))


def _read_counts(entry: Any, folder: Path) -> list[Any]:
    """The workload entry with its counts, if it names a file, read in; a file of several becomes several."""
    if not isinstance(entry, dict) or not isinstance(entry.get("counts"), str):
        return [entry]
    source = folder / entry["counts"]
    read = _workloads(read_recording(source), source.stem)
    if len(read) == 1:
        return [{"name": source.stem, **entry, "counts": read[0]["counts"]}]
    return [{**entry, **workload} for workload in read]


def _workloads(recorded: Recorded, stem: str) -> list[dict[str, Any]]:
    return [{"name": name or stem, "counts": counts} for name, counts in recorded.counts]


def _number_twins(workloads: list[dict[str, Any]]) -> None:
    """Files of equal names in different folders become name, name 2 and so on."""
    seen: dict[str, int] = {}
    for workload in workloads:
        name = workload["name"]
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            workload["name"] = f"{name} {seen[name]}"


def _topology(topology: Any, given: dict[str, Any]) -> Any:
    if not isinstance(topology, dict | None):
        return topology
    return {**(topology or {}), **{name: given[name] for name in ("gpus", "nodes", "slots_per_gpu") if name in given}}


def _without_topology(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in ("gpus", "nodes", "slots_per_gpu")}


def _current(path: Path) -> dict[str, Any]:
    """The map in a plan of ours or in SGLang's initial expert location."""
    document = read_document(path)
    if not isinstance(document, dict) or "physical_to_logical_map" not in document:
        raise InvalidInput(
            "has no physical_to_logical_map",
            field=str(path),
            fix="give a plan written by `gpuplan plan experts --out`, or SGLang's expert location JSON",
        )
    return {"physical_to_logical_map": document["physical_to_logical_map"]}
