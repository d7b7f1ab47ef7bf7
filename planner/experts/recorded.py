"""Recordings of expert load and routing, as engines and people write them.

``.json`` with ``logical_count`` (SGLang's recorder, [layers][experts] or [steps][layers][experts]) or with one matrix
per workload name; ``.npy``; ``.npz`` with any of logical_count, counts, trace, transitions; SGLang's ``.pt`` where
torch is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from planner.documents import read_document, unreadable
from planner.errors import InvalidInput
from planner.packed import MOST_BYTES, whole_numbers
from planner.program import Ints

MOST_EXPERTS_PER_TOKEN = 16
"""A three-dimensional array with at most so many numbers per last row, all different, is a trace, else steps."""

MOST_EXPERTS = 4096
"""Larger numbers in an array without a name are counts, not ids: no model has so many experts in a layer."""

MOST_COUNTED = 2.0**63
"""Sums of counts must stay below this."""

_COUNTS = ("logical_count", "counts")


@dataclass(frozen=True)
class Recorded:
    """What a file holds: named matrices [layers, experts] (no name: the file's), a trace, transitions."""

    counts: tuple[tuple[str | None, Ints], ...] = ()
    trace: Ints | None = None
    transitions: Ints | None = None


def is_recording(path: Path) -> bool:
    """Whether ``path`` is recorded data rather than a spec."""
    if path.suffix in _READERS:
        return True
    if path.suffix != ".json":
        return False
    document = read_document(path)
    if isinstance(document, list):
        return True
    return isinstance(document, dict) and "kind" not in document and "topology" not in document


def read_recording(path: Path, *, only: str | None = None) -> Recorded:
    """What is in ``path``. ``only``: the meaning of a file with a single array (trace, transitions or counts).

    Raises
    ------
    InvalidInput
        The file cannot be read, or holds something else than whole numbers in a shape that can be meant.
    """
    reader = _READERS.get(path.suffix, _read_json)
    try:
        return _sorted_out(reader(path), only)
    except ValueError as error:
        raise InvalidInput(str(error), field=str(path)) from None


def _sorted_out(arrays: Mapping[str, Any], only: str | None) -> Recorded:
    counts: list[tuple[str | None, Ints]] = []
    found: dict[str, Ints] = {}
    for name, value in arrays.items():
        array = whole_numbers(value, name)
        meaning = only if only is not None and len(arrays) == 1 else _meaning(name, array)
        if meaning != "counts":
            found[meaning] = array
        elif array.ndim in (2, 3):
            summed = _added_up(array, name) if array.ndim == 3 else array
            counts.append((None if name in (*_COUNTS, _UNNAMED) else name, summed))
        else:
            raise ValueError(
                f"{name} has shape {list(array.shape)}; it needs [layers][experts], or [steps][layers][experts]"
            )
    return Recorded(tuple(counts), found.get("trace"), found.get("transitions"))


def _added_up(steps: Ints, name: str) -> Ints:
    """[layers, experts] from [steps, layers, experts]; a mistake in one step must not drown in the others."""
    if (steps < 0).any():
        step, layer, expert = (int(i) for i in np.argwhere(steps < 0)[0])
        value = steps[step, layer, expert]
        raise ValueError(f"{name}[{step}][{layer}][{expert}] is {value}; counts cannot be negative")
    if (steps.sum(axis=0, dtype=float) >= MOST_COUNTED).any():
        raise ValueError(f"{name} adds up to 2^63 or more over its steps; check the counts, or divide them all by 1000")
    total: Ints = steps.sum(axis=0)
    return total


def _meaning(name: str, array: Ints) -> str:
    if name in ("trace", "transitions"):
        return name
    return "trace" if name == _UNNAMED and _looks_like_trace(array) else "counts"


def _looks_like_trace(array: Ints) -> bool:
    """[tokens, layers, top k]: few experts per token, none twice, ids small next to counts."""
    if array.ndim != 3 or not array.size or array.shape[2] > MOST_EXPERTS_PER_TOKEN or array.max() >= MOST_EXPERTS:
        return False
    ordered = np.sort(array, axis=2)
    return bool((np.diff(ordered, axis=2) > 0).all())


_UNNAMED = "array"


def _read_json(path: Path) -> Mapping[str, Any]:
    document = read_document(path)
    if isinstance(document, list):
        return {_UNNAMED: document}
    if not isinstance(document, dict) or not document:
        raise ValueError("holds no load; it needs logical_count: [layers][experts]")
    if "logical_count" in document:
        return {"logical_count": document["logical_count"]}
    odd = next((key for key, value in document.items() if not isinstance(value, list)), None)
    if odd is not None:
        raise ValueError(f"has no logical_count, and {odd!r} is no matrix; it needs logical_count: [layers][experts]")
    return document


def _read_npy(path: Path) -> Mapping[str, Any]:
    return {_UNNAMED: _opened(path, lambda: np.load(path, allow_pickle=False))}


def _read_npz(path: Path) -> Mapping[str, Any]:
    arrays: dict[str, Any] = _opened(path, lambda: _unpacked(path))
    if not arrays:
        raise ValueError("holds no array; it needs logical_count: [layers][experts]")
    known = {name: array for name, array in arrays.items() if name in (*_COUNTS, "trace", "transitions")}
    return known or arrays


def _unpacked(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        size = sum(member.file_size for member in archive.zip.infolist())
        if size > MOST_BYTES:
            raise ValueError(f"its arrays take {size >> 20} MiB, more than {MOST_BYTES >> 20} MiB; sample them first")
        return {name: archive[name] for name in archive.files}


def _read_pt(path: Path) -> Mapping[str, Any]:
    try:
        import torch  # type: ignore[import-not-found, unused-ignore]  # optional: only SGLang's own dumps need it
    except ImportError:
        fix = "pip install torch, or save logical_count as .npy or .json"
        raise InvalidInput("is a torch file and torch is not installed", field=str(path), fix=fix) from None
    document = _opened(path, lambda: torch.load(path, map_location="cpu", weights_only=True))
    if not isinstance(document, dict) or "logical_count" not in document:
        raise ValueError("has no logical_count; give a dump of SGLang's expert distribution recorder")
    return {"logical_count": document["logical_count"].numpy()}


def _opened(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except OSError as error:
        raise unreadable(path, error) from None
    except Exception as error:  # damaged archives raise whatever their format's reader stumbles over
        raise ValueError(f"cannot be read as {path.suffix}: {str(error)[:120]}") from None


_READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {".npy": _read_npy, ".npz": _read_npz, ".pt": _read_pt}
