"""Who is meant by a name: the known GPUs and models, under any of their spellings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from profiles.errors import UnknownName
from profiles.types import Batch, GpuType, ModelCard

Named = TypeVar("Named", GpuType, ModelCard)


@dataclass(frozen=True)
class KnownNames:
    """Resolver of names against one set of facts. Case and the choice of ``-``, ``_`` or space never matter.

    A GPU must be known, because its datasheet enters every plan. A model need not be: its measurements
    stand on their own, so an unknown model keeps the name it came with.
    """

    gpus: Mapping[str, GpuType]
    models: Mapping[str, ModelCard]

    @classmethod
    def of(cls, facts: Batch) -> KnownNames:
        """The names in ``facts`` (a ``Batch`` or ``Facts``)."""
        return cls(gpus=_by_spelling(facts.gpus), models=_by_spelling(facts.models))

    def gpu(self, name: str, field: str | None = None) -> str:
        """Catalogue name of the GPU called ``name``; ``UnknownName`` at ``field`` with the closest names otherwise."""
        return self.gpu_type(name, field).name

    def gpu_type(self, name: str, field: str | None = None) -> GpuType:
        """Datasheet of the GPU called ``name``; fails as ``gpu`` does."""
        found = self.gpus.get(_key(name))
        if found is None:
            known = sorted({gpu.name for gpu in self.gpus.values()})
            raise UnknownName("GPU", name, known, field=field, fix=f"known GPUs: {', '.join(known) or 'none'}")
        return found

    def model(self, name: str) -> str:
        """Catalogue name of the model called ``name``, or ``name`` itself where it is not known."""
        found = self.models.get(_key(name))
        return found.name if found else name.strip()

    def model_card(self, name: str) -> ModelCard | None:
        """Shape of the model called ``name``, or None where it is not known."""
        return self.models.get(_key(name))


def _by_spelling(facts: Iterable[Named]) -> dict[str, Named]:
    spellings: dict[str, Named] = {}
    for fact in facts:
        for alias in fact.aliases:
            spellings.setdefault(_key(alias), fact)
    # A name always means its own fact, even where another fact claims it as an alias.
    spellings.update((_key(fact.name), fact) for fact in facts)
    return spellings


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "-", name.strip().lower())
