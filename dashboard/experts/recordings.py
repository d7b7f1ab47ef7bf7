"""Recorded loads that people give: matrices of tokens per layer and expert, one file per workload."""

from __future__ import annotations

import io
import json
import tokenize
import zipfile
import zlib
from pathlib import PurePath
from typing import Any

import numpy as np
import streamlit as st

from dashboard import address, states, uploads
from dashboard.client import Client, Document, Refused
from dashboard.words import plain

KINDS = ("json", "npy", "npz")
COUNTS = ("logical_count", "counts")
"""Names that engines give to the matrix."""

MOST_FILES = 20

MOST_TOKENS = 2**53
"""Of an expert in a layer: larger counts are not exact as floats, and no recording is as long."""

_UNREADABLE = (ValueError, OSError, EOFError, MemoryError, NotImplementedError, RuntimeError, zipfile.BadZipFile,
               zlib.error, tokenize.TokenError)  # fmt: skip
"""What numpy raises for files that are cut off, damaged, encrypted, or claim to be larger than they are."""


def ask(client: Client, spec: Document) -> None:
    """Take files, and begin with the plan of what they hold on the machine of ``spec``."""
    given = st.file_uploader(
        "One file per workload", list(KINDS), accept_multiple_files=True, key="expert recordings",
        max_upload_size=uploads.MOST_MIB,
        help="JSON with logical_count (as SGLang records it), .npy or .npz: tokens per [layers][experts]",
    )  # fmt: skip
    files = [(file.name, file.getvalue()) for file in given]
    if not files or st.session_state.get("used expert recordings") == files:
        return
    if len(files) > MOST_FILES:
        st.error(f"{len(files)} files are more than the {MOST_FILES} that are taken here.")
        return
    try:
        workloads = [{"name": PurePath(name).stem[:100] or "workload", "counts": counts(name, content)}
                     for name, content in files]  # fmt: skip
    except uploads.BadFile as error:
        st.error(plain(str(error)))
        return
    kept = ("topology", "objective", "over_workloads", "groups", "dispatch", "costs")
    new = {"kind": "experts", "name": workloads[0]["name"], "workloads": workloads, "curves": True,
           **{name: spec[name] for name in kept if spec.get(name) is not None}}  # fmt: skip
    try:
        made = client.post("/v1/plans", {"kind": "experts", "spec": new}, wait_s=60)
    except Refused as error:
        states.refused(error)
        return
    st.session_state["used expert recordings"] = files
    if made.status == 202:
        st.warning("This takes longer than a minute: it will be in the list of saved plans.")
        return
    address.begin_with(made.document["id"])


def counts(name: str, content: bytes) -> list[list[int]]:
    """Tokens per [layers][experts] in a file. Steps, as [steps][layers][experts], are added up.

    Raises
    ------
    BadFile
        where there is no such matrix in it
    """
    if not content.strip():
        raise uploads.BadFile(f"{name} is empty")
    array = _json(name, content) if name.lower().endswith(".json") else _numpy(name, content)
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all() or (array < 0).any():
        raise uploads.BadFile(f"{name}: counts must be numbers that are not negative")
    if array.ndim == 3:
        array = array.sum(axis=0, dtype=float)
    if array.ndim != 2 or not array.size:
        raise uploads.BadFile(f"{name}: the matrix has shape {list(array.shape)}; it needs [layers][experts]")
    if array.max() > MOST_TOKENS:
        raise uploads.BadFile(f"{name}: a count is {array.max():.3g}, more than any recording has")
    whole: list[list[int]] = np.rint(array).astype(np.int64).tolist()
    return whole


def _json(name: str, content: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    try:
        document = json.loads(uploads.text(name, content))
    except json.JSONDecodeError as error:
        raise uploads.BadFile(f"{name}, line {error.lineno}: {error.msg}") from None
    except RecursionError:
        raise uploads.BadFile(f"{name} is nested too deeply") from None
    except ValueError as error:  # more digits than Python reads
        raise uploads.BadFile(f"{name} cannot be read: {error}") from None
    found = document
    if isinstance(document, dict):
        found = next((document[key] for key in COUNTS if key in document), "")
    try:
        return np.array(found, dtype=float)
    except (ValueError, TypeError, OverflowError):
        names = " or ".join(COUNTS)
        raise uploads.BadFile(f"{name} has no matrix {names} with equally many experts in each layer") from None


def _numpy(name: str, content: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            unpacked_mib = sum(entry.file_size for entry in packed.infolist()) / 2**20
        if unpacked_mib > 4 * uploads.MOST_MIB:
            raise uploads.BadFile(f"{name} unpacks to {unpacked_mib:,.0f} MiB, more than {4 * uploads.MOST_MIB} MiB")
        found = loaded[next(key for key in COUNTS if key in loaded)]
    except _UNREADABLE:
        raise uploads.BadFile(f"{name} is not an array that numpy can read") from None
    except StopIteration:
        raise uploads.BadFile(f"{name} has no array called {' or '.join(COUNTS)}") from None
    if not isinstance(found, np.ndarray):  # bytes of something else
        raise uploads.BadFile(f"{name} is not an array that numpy can read")
    return found
