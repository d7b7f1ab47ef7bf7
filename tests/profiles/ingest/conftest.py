from collections.abc import Callable
from pathlib import Path

import pytest

from profiles import catalogue
from profiles.names import KnownNames

SAMPLES = Path(__file__).parent / "samples"
SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(scope="session")
def known() -> KnownNames:
    return KnownNames.of(catalogue.load())


@pytest.fixture
def sample() -> Callable[[str], Path]:
    """Path of a small hand-written file in the format under test."""
    return SAMPLES.joinpath


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a sample with some text replaced: ``edited("helix.csv", ("t4", "t5"))``."""

    def edit(name: str, *replacements: tuple[str, str]) -> Path:
        text = (SAMPLES / name).read_text()
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        copy = tmp_path / name
        copy.write_text(text)
        return copy

    return edit


@pytest.fixture
def shared() -> Path:
    """The public measurements beside the repository, which are not part of it."""
    if not SHARED.is_dir():
        pytest.skip(f"the public data sets are not at {SHARED}")
    return SHARED
