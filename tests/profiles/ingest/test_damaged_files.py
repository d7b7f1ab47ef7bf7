"""However a file is damaged, reading it succeeds or says what is wrong; nothing else comes out."""

import random
from contextlib import suppress
from pathlib import Path

import pytest

from profiles.errors import InvalidInput
from profiles.ingest import FORMATS, read
from profiles.names import KnownNames

SAMPLES = Path(__file__).parent / "samples"

OPTIONS: dict[str, dict[str, object]] = {
    "melange": {"model": "m", "input_tokens": "100,1000", "output_tokens": "10,100,500"},
    "skypilot-catalogue": {"provider": "aws"},
    "hf-config": {"model": "m"},
    "vllm-bench": {"gpu": "H100"},
    "guidellm": {"gpu": "H100"},
    "aiperf": {"gpu": "H100", "model": "m"},
}
PIECES = [
    "",
    "-1",
    "0",
    "1e999",
    "NaN",
    "null",
    "{}",
    "[]",
    '"',
    ",",
    "\n",
    "x" * 300,
    "9" * 5000,
    "\0",
    "é",
    "[[",
    "true",
]


@pytest.mark.parametrize("file", sorted(path.name for path in SAMPLES.iterdir()))
def test_damage_is_refused_or_harmless(file: str, tmp_path: Path, known: KnownNames) -> None:
    text = (SAMPLES / file).read_text()
    stem = file.split(".")[0]
    name = stem if stem in FORMATS else "skypilot-catalogue"
    damaged = tmp_path / file
    chance = random.Random(file)  # noqa: S311 - repeatable, not secret
    for _ in range(150):
        start = chance.randrange(len(text))
        end = min(len(text), start + chance.choice((0, 1, 3, 10)))
        damaged.write_text(text[:start] + chance.choice(PIECES) + text[end:])
        with suppress(InvalidInput):
            read(name, damaged, known, **OPTIONS.get(name, {}))
