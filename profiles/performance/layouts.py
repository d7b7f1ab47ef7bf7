"""Which layouts there are: their families, their order, and those that a datasheet alone can answer for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from profiles.performance.memory import memory
from profiles.types import GpuType, Layout, ModelCard

ROOFLINE_ENGINE = "roofline"
ROOFLINE_TP = (1, 2, 4, 8)
WITHOUT_BF16 = frozenset({"Volta", "Turing"})

FamilyKey = tuple[str, str, str, str]


def family_key(layout: Layout) -> FamilyKey:
    """What the layouts of a family have in common."""
    return layout.model, layout.gpu, layout.precision, layout.engine


def order(layout: Layout) -> tuple[str, str, str, str, int, int, int, int]:
    """Sort key: families together, small layouts first."""
    return (*family_key(layout), layout.tp, layout.pp, layout.dp, layout.ep)


def roofline_layouts(model: str, card: ModelCard, gpus: Iterable[GpuType]) -> Iterator[Layout]:
    """Layouts of one machine that hold the model, in half precision and, where the GPU computes in it, in fp8."""
    for gpu, tp in product(gpus, ROOFLINE_TP):
        half = "fp16" if gpu.architecture in WITHOUT_BF16 else "bf16"
        for precision in (half, *(["fp8"] if gpu.fp8_tflops else [])):
            layout = Layout(model=model, gpu=gpu.name, tp=tp, precision=precision, engine=ROOFLINE_ENGINE)
            if memory(layout, card, gpu).max_tokens >= 1:
                yield layout
