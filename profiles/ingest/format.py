"""What every outside format is: a name, how to recognise it, the options it takes, and one function that reads it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ConfigDict, Field

from profiles.errors import InvalidInput
from profiles.ingest.table import Row
from profiles.names import KnownNames
from profiles.types import AnyPrecision, Batch, Collective, Count, Measurement, Name, Positive

PROVENANCE = ("source", "as_of")
"""Options that every format takes, to say where a file is from when the format's default is wrong."""

DEPLOYMENT = ("model", "gpu", "tp", "pp", "dp", "ep", "precision", "engine", "engine_version")
"""Options of formats whose files say how requests went, not what served them."""


class Options(BaseModel):
    """What a caller may add to a file that does not say it itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    source: str | None = Field(default=None, min_length=1)
    as_of: dt.date | None = None
    model: Name | None = None
    gpu: Name | None = None
    tp: Count = 1
    pp: Count = 1
    dp: Count = 1
    ep: Count = 1
    precision: AnyPrecision = "unknown"
    engine: Name | None = None
    engine_version: str = Field(default="", max_length=100)
    provider: Name | None = None
    input_tokens: str | None = Field(default=None, description="upper bounds of input buckets, e.g. '128,512,2048'")
    output_tokens: str | None = None
    num_parameters: Positive | None = None
    num_active_parameters: Positive | None = None
    operation: Collective | None = None

    def required(self, name: str, why: str) -> str:
        """The text option ``name``; ``InvalidInput`` naming its flag when it was not given, because ``why``."""
        value = getattr(self, name)
        if value is None:
            raise InvalidInput(why, field=flag(name), fix=f"add {flag(name)} {EXAMPLES.get(name, 'NAME')}")
        return str(value)


EXAMPLES = {
    "model": "NAME, e.g. meta-llama/Llama-3.1-8B-Instruct",
    "gpu": "NAME, e.g. H100",
    "provider": "NAME, e.g. aws",
    "input_tokens": "N,N,..., the upper bound of each bucket",
    "output_tokens": "N,N,..., the upper bound of each bucket",
    "operation": f"NAME, one of {', '.join(get_args(Collective))}",
}


def flag(option: str) -> str:
    """How ``option`` is spelled on the command line: ``as_of`` is ``--as-of``."""
    return "--" + option.replace("_", "-")


@dataclass(frozen=True)
class Ingested:
    """What one file held: facts, all of them valid, and notes on what was knowingly left out or read into it."""

    batch: Batch
    notes: tuple[str, ...] = ()


Reader = Callable[[Path, KnownNames, Options], Ingested]
Asker = Callable[[KnownNames, Options], Ingested]
RowParser = Callable[[Row, KnownNames, Options], Measurement]


@dataclass(frozen=True)
class Format:
    """One outside format. ``read`` returns every fact of a file or raises ``InvalidInput``; it never returns some."""

    name: str
    description: str
    suffixes: tuple[str, ...]
    read: Reader
    options: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    """Columns that a table in this format must have; empty for a document."""
    parse: RowParser | None = None
    """The measurement in one row, for tables that can be surveyed row by row."""
    ask: Asker | None = None
    """The same facts from an installed package, for formats that can do without a file."""

    @property
    def all_options(self) -> tuple[str, ...]:
        """Names of the options that ``read`` takes, with those that every format takes."""
        return (*self.options, *PROVENANCE)
