"""Training specs from files: our YAML or JSON, a model's ``config.json``, and a bandwidth matrix in a CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from planner.documents import only_file, read_document, text_of, unreadable, validated
from planner.errors import InvalidInput
from planner.training.spec import TrainingSpec
from profiles.ingest import hf_config
from profiles.ingest.format import Options
from profiles.names import KnownNames
from profiles.training.shape import transformer
from profiles.types import Batch

MOST_MATRIX_BYTES = 64 * 2**20


def load(paths: Path | Sequence[Path], options: dict[str, Any]) -> TrainingSpec:  # noqa: ARG001 - one shape of planners
    """The spec in one file, made whole: files that it names (relative to itself) are read into it.

    ``model`` may be a path to a ``config.json``, ``cluster.gb_per_s`` a path to a CSV of one row per node.

    Raises
    ------
    InvalidInput
        A file cannot be read, or holds a mistake, named by its path.
    """
    path = only_file(paths)
    document = read_document(path)
    if isinstance(document, dict):
        document = _with_matrix(_with_model(document, path), path)
    return validated(TrainingSpec, document, str(path))


def _with_model(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """``document`` with the shape in the ``config.json`` that its model names, if it names one."""
    model = document.get("model")
    if not isinstance(model, str) or not model.endswith(".json"):
        return document
    if "shape" in document:
        raise InvalidInput("model names a file and shape is given too", field=str(path), fix="leave one of them out")
    config = path.parent / model
    name = config.parent.name if config.name == "config.json" and config.parent.name else config.stem
    cards = hf_config.read(config, KnownNames.of(Batch()), Options(model=name)).batch.models
    known = transformer(cards[0])
    shape = {field: getattr(known, field) for field in (
        "num_layers", "hidden_size", "num_attention_heads", "num_kv_heads", "head_dim", "intermediate_size",
        "vocab_size", "gated_mlp", "tied_embeddings", "num_experts", "experts_per_token", "num_shared_experts",
        "moe_intermediate_size", "num_dense_layers",
    )}  # fmt: skip
    return {**document, "model": name, "shape": shape}


def _with_matrix(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """``document`` with the bandwidth matrix in the CSV that its cluster names, if it names one."""
    cluster = document.get("cluster")
    if not isinstance(cluster, dict) or not isinstance(cluster.get("gb_per_s"), str):
        return document
    return {**document, "cluster": {**cluster, "gb_per_s": _read_matrix(path.parent / cluster["gb_per_s"])}}


def _read_matrix(path: Path) -> list[list[float]]:
    try:
        rows = [row for row in csv.reader(text_of(path, MOST_MATRIX_BYTES).splitlines()) if any(row)]
    except OSError as error:
        raise unreadable(path, error) from None
    except (UnicodeDecodeError, csv.Error):
        raise InvalidInput("is not a text file", field=str(path), fix="give a CSV file in UTF-8") from None
    matrix = []
    for number, row in enumerate(rows, start=1):
        try:
            matrix.append([float(cell) for cell in row])
        except ValueError as error:
            raise InvalidInput(
                f"{error}", field=f"{path}:{number}", fix="give one row of GB/s per node, without a header"
            ) from None
    return matrix
