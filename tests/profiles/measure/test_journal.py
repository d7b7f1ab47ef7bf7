"""A run cut off anywhere resumes with exactly what was finished."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.errors import InvalidInput
from profiles.measure.journal import Journal, day_of_run, read

RUN = {"kind": "gemm", "device": "a GPU", "as_of": "2026-01-02"}
POINTS = [{"m": 1, "n": 64}, {"m": 2, "n": 64}, {"m": 3, "n": 64}]


def written(path: Path) -> bytes:
    journal = Journal(path, RUN)
    journal.add(POINTS[0], {"time_us": 1.5})
    journal.add_problem(POINTS[1], "out of memory – ünïcode")
    journal.add(POINTS[2], {"time_us": 2.5})
    journal.close()
    return path.read_bytes()


def test_what_was_finished_is_known_and_problems_are_tried_again(tmp_path: Path) -> None:
    written(tmp_path / "run.jsonl")
    journal = Journal(tmp_path / "run.jsonl", RUN)
    assert [point in journal for point in POINTS] == [True, False, True]
    assert {"n": 64, "m": 1} in journal  # the order of names does not matter
    journal.add(POINTS[1], {"time_us": 9.0})
    journal.close()
    assert list(Journal(tmp_path / "run.jsonl", RUN).results())[-1] == (POINTS[1], {"time_us": 9.0})


@given(cut=st.integers(min_value=0, max_value=10_000))
def test_cut_off_at_any_byte(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "run.jsonl"
    whole = written(path)
    path.write_bytes(whole[:cut])
    finished = whole[:cut].count(b"\n")
    if cut > 0 and not finished:
        with pytest.raises(InvalidInput, match=r"cut off in its first line|is no journal"):
            Journal(path, RUN)
        assert path.read_bytes() == whole[:cut]
        return
    journal = Journal(path, RUN)
    assert [point in journal for point in POINTS] == [finished >= 2, False, finished >= 4]
    journal.add({"m": 4}, {"time_us": 1.0})
    journal.close()
    assert len(read(path)) == max(finished, 1) + 1  # nothing is glued to half a line


def test_another_run_is_refused_naming_what_differs_and_left_as_it_is(tmp_path: Path) -> None:
    before = written(tmp_path / "run.jsonl")
    with pytest.raises(InvalidInput, match="device was 'a GPU', now 'another'"):
        Journal(tmp_path / "run.jsonl", RUN | {"device": "another"})
    assert (tmp_path / "run.jsonl").read_bytes() == before


@pytest.mark.parametrize("content", [b"m,n,k\n1,2,3\n", b"\x00\xff\n", b'{"gpuplan_journal": 99, "run": {}}\n', b"[]\n",
                                     b'{"gpuplan_journal": 1, "run": {}}\n{"point": 1}\n', b"notes"])  # fmt: skip
def test_what_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.txt"
    path.write_bytes(content)
    with pytest.raises(InvalidInput):
        Journal(path, RUN)
    assert path.read_bytes() == content


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be written"):
        Journal(tmp_path / "no" / "folder.jsonl", RUN)
    with pytest.raises(InvalidInput, match="cannot be written"):
        Journal(tmp_path, RUN)


def test_a_number_that_is_none_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        Journal(tmp_path / "run.jsonl", RUN).add(POINTS[0], {"time_us": float("nan")})


def test_the_day_is_that_of_the_first_run(tmp_path: Path) -> None:
    written(tmp_path / "run.jsonl")
    assert day_of_run(tmp_path / "run.jsonl") == "2026-01-02"
    assert day_of_run(tmp_path / "none.jsonl") > "2026-01-02"
