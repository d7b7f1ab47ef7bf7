"""Large integer arrays inside a spec: compressed text in JSON, numpy outside, plain nested lists accepted."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from planner.program import Ints
from planner.types import Frozen

MOST_BYTES = 512 * 2**20
_KINDS: dict[str, type[np.signedinteger[Any]]] = {
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
}


class PackedArray(Frozen):
    """An integer array of any shape: little-endian, C order, zlib, base64. A nested list is packed when validated."""

    dtype: Literal["int8", "int16", "int32", "int64"]
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    data: str = Field(repr=False)

    @model_validator(mode="before")
    @classmethod
    def _from_lists(cls, value: Any) -> Any:
        if isinstance(value, np.ndarray | list | tuple):
            return cls.pack(whole_numbers(value, "array")).model_dump()
        return value

    @model_validator(mode="after")
    def _decodes(self) -> PackedArray:
        if self._num_bytes > MOST_BYTES:
            raise ValueError(f"an array of shape {self.shape} is larger than {MOST_BYTES >> 20} MiB; sample it first")
        return self

    @property
    def _num_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(_KINDS[self.dtype]).itemsize

    @classmethod
    def pack(cls, array: Ints) -> PackedArray:
        """Pack ``array`` in the smallest integer type that holds it."""
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        dtype = next(name for name, kind in _KINDS.items() if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
        raw = np.ascontiguousarray(array, dtype=np.dtype(_KINDS[dtype]).newbyteorder("<")).tobytes()
        return cls(dtype=dtype, shape=array.shape, data=base64.b64encode(zlib.compress(raw, 6)).decode())

    def array(self) -> Ints:
        """The array as int64.

        Raises
        ------
        ValueError
            ``data`` is not base64 of zlib, or does not hold as many numbers as ``shape`` says.
        """
        try:
            raw = zlib.decompressobj().decompress(base64.b64decode(self.data, validate=True), self._num_bytes + 1)
        except (binascii.Error, zlib.error, ValueError):
            raise ValueError("data is not a base64 text of zlib-compressed numbers; write the array as lists") from None
        if len(raw) != self._num_bytes:
            raise ValueError(f"data holds another amount of numbers than shape {list(self.shape)} says")
        kind = np.dtype(_KINDS[self.dtype]).newbyteorder("<")
        return np.frombuffer(raw, dtype=kind).reshape(self.shape).astype(np.int64)


def whole_numbers(value: Any, name: str) -> Ints:
    """``value`` (nested lists or an array) as int64.

    Raises
    ------
    ValueError
        Rows of different lengths, NaN, infinity, fractions, or something that is no number; names the first place.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(_ragged(value, name)) from None
    if array.dtype == object:
        raise ValueError(_ragged(value, name))
    if array.dtype.kind == "f":
        array = array.astype(float)  # half precision cannot hold the limit below
        odd = ~np.isfinite(array) | (array != np.round(array)) | (np.abs(array) > 2**53)
        if odd.any():
            place = tuple(int(i) for i in np.argwhere(odd)[0])
            raise ValueError(
                f"{name}{_index(place)} is {array[place]!s}; counts are whole numbers: "
                "give raw token counts, not shares or averages, and 0 where nothing was counted"
            )
    elif array.dtype.kind not in "iu":
        raise ValueError(f"{name} holds {array.dtype.name} where whole numbers are needed")
    elif array.dtype == np.uint64 and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{name} has numbers above 2^63")
    return array.astype(np.int64)


def _index(place: tuple[int, ...]) -> str:
    return "".join(f"[{i}]" for i in place)


def _ragged(value: Any, name: str) -> str:
    rows = [len(row) if isinstance(row, list | tuple) else -1 for row in value]
    odd = next((i for i, length in enumerate(rows) if length != rows[0]), None)
    if odd is None or rows[odd] < 0:
        return f"{name} holds something that is not a number; it takes lists of whole numbers"
    return (
        f"{name}[{odd}] has {rows[odd]} entries but {name}[0] has {rows[0]}; "
        "every layer needs one count per expert: write 0 for experts that were never used"
    )
