"""The queue's promises, one by one, on both databases."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from api.jobs import queue
from api.jobs.types import Claim, Held
from planner.errors import Conflict, InvalidInput, Overloaded, UnknownName
from planner.identity import now
from profiles import db

REQUEST = {"kind": "serving", "spec": {"name": "chat"}}


def submitted(engine: Engine, count: int = 1, **changes) -> list[str]:
    options = {"kind": "plan", "request": REQUEST, "owner": "ann", "most_queued": 1000} | changes
    return [queue.submit(engine, **options).id for _ in range(count)]


def claimed(engine: Engine, worker: str = "w") -> Claim:
    claim = queue.claim(engine, worker)
    assert claim is not None
    return claim


def held(engine: Engine) -> Held:
    (one,) = queue.running(engine)
    return one


def test_a_job_from_asking_to_done(any_engine: Engine) -> None:
    (name,) = submitted(any_engine, request_id="r1")
    job = queue.job(any_engine, name)
    assert (job.state, job.owner, job.request_id, job.request, job.attempts) == ("queued", "ann", "r1", REQUEST, 0)
    claim = claimed(any_engine)
    assert claim.job.id == name
    assert claim.job.started_at is not None
    assert queue.beat(any_engine, claim, 0.5, "solving") == "go on"
    assert queue.states(any_engine, [name, "none"]) == {name: ("running", 0.5, "solving")}
    assert queue.finish(any_engine, claim, None, {"outcome": "optimal"})
    job = queue.job(any_engine, name)
    assert (job.state, job.result, job.problem, job.progress) == ("done", {"outcome": "optimal"}, None, 1.0)
    assert job.finished_at is not None
    assert queue.depth(any_engine)[:2] == (0, 0)


def test_the_oldest_is_claimed_first(any_engine: Engine) -> None:
    names = submitted(any_engine, 5)
    assert [claimed(any_engine).job.id for _ in names] == names
    assert queue.claim(any_engine, "w") is None


def test_submitting_under_the_same_id_makes_nothing(any_engine: Engine) -> None:
    first = queue.submit(any_engine, "plan", REQUEST, "ann", job_id="a", most_queued=1)
    claim = claimed(any_engine)
    queue.finish(any_engine, claim)
    again = queue.submit(any_engine, "plan", {"other": 1}, "bob", job_id="a", most_queued=1)
    assert (again.id, again.request, again.state) == (first.id, REQUEST, "done")


def test_many_submitting_the_same_id_at_once_make_one_job(any_engine: Engine) -> None:
    def ask(_: int) -> str:
        return queue.submit(any_engine, "plan", REQUEST, "ann", job_id="a", most_queued=100).id

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(40))) == {"a"}
    assert queue.depth(any_engine).queued == 1


def test_a_full_queue_refuses_and_keeps_what_it_has(any_engine: Engine) -> None:
    submitted(any_engine, 2, most_queued=2)
    with pytest.raises(Overloaded, match="2 jobs wait already"):
        submitted(any_engine, most_queued=2)
    assert queue.depth(any_engine).queued == 2
    claimed(any_engine)
    submitted(any_engine, most_queued=2)  # one was taken: there is room


def test_claimers_at_once_never_share_a_job(any_engine: Engine) -> None:
    names = submitted(any_engine, 200)

    def drain(worker: int) -> list[str]:
        taken = []
        while (claim := queue.claim(any_engine, str(worker))) is not None:
            taken.append(claim.job.id)
            assert queue.finish(any_engine, claim)
        return taken

    with ThreadPoolExecutor(8) as threads:
        taken = Counter(name for part in threads.map(drain, range(8)) for name in part)
    assert taken == Counter(names)


def test_a_queued_job_is_cancelled_at_once_and_never_claimed(any_engine: Engine) -> None:
    (name,) = submitted(any_engine)
    assert queue.cancel(any_engine, name).state == "cancelled"
    assert queue.claim(any_engine, "w") is None


def test_a_running_job_hears_that_it_is_cancelled(any_engine: Engine) -> None:
    (name,) = submitted(any_engine)
    claim = claimed(any_engine)
    assert queue.cancel(any_engine, name).state == "running"
    assert queue.beat(any_engine, claim, 0.1, "") == "cancel"
    assert queue.stop(any_engine, claim)
    assert queue.job(any_engine, name).state == "cancelled"


@pytest.mark.parametrize("end", ["finish", "fail", "stop"])
def test_what_has_ended_cannot_be_cancelled(any_engine: Engine, end: str) -> None:
    (name,) = submitted(any_engine)
    claim = claimed(any_engine)
    getattr(queue, end)(any_engine, claim, **({"problem": {"title": "no"}} if end == "fail" else {}))
    before = queue.job(any_engine, name)
    with pytest.raises(Conflict, match=before.state):
        queue.cancel(any_engine, name)
    assert queue.job(any_engine, name) == before


def test_a_worker_that_lost_its_job_changes_nothing(any_engine: Engine) -> None:
    (name,) = submitted(any_engine)
    stale = claimed(any_engine, "same")
    assert queue.take_away(any_engine, held(any_engine), 5, "it died") == "queued"
    claim = claimed(any_engine, "same")  # the same worker again: only the lease tells the two claims apart
    before = queue.job(any_engine, name)
    assert queue.beat(any_engine, stale, 0.9, "stale") == "lost"
    assert not queue.finish(any_engine, stale, None, {"stale": True})
    assert not queue.fail(any_engine, stale, {"title": "stale"})
    assert not queue.stop(any_engine, stale)
    assert not queue.give_back(any_engine, stale)
    assert queue.again(any_engine, stale, 5, {"title": "stale"}) is None
    assert queue.job(any_engine, name) == before
    assert queue.finish(any_engine, claim, None, {"fresh": True})
    assert not queue.finish(any_engine, claim, None, {"twice": True})
    assert queue.job(any_engine, name).result == {"fresh": True}


def test_a_job_is_not_taken_away_after_a_sign_of_life(any_engine: Engine) -> None:
    submitted(any_engine)
    claim = claimed(any_engine)
    seen = held(any_engine)
    assert queue.beat(any_engine, claim, 0.0, "") == "go on"
    assert queue.take_away(any_engine, seen, 5, "it died") is None
    assert held(any_engine).beat == seen.beat + 1
    assert queue.finish(any_engine, claim)
    assert queue.take_away(any_engine, seen, 5, "it died") is None


def test_a_job_whose_workers_die_fails_with_the_last_reason(any_engine: Engine) -> None:
    (name,) = submitted(any_engine)
    for attempt in (1, 2, 3):
        assert claimed(any_engine).job.attempts == attempt
        state = queue.take_away(any_engine, held(any_engine), 3, f"death {attempt}")
        assert state == ("queued" if attempt < 3 else "failed")
    job = queue.job(any_engine, name)
    assert job.problem is not None
    assert "3 times" in job.problem["detail"]
    assert "death 3" in job.problem["detail"]
    assert queue.claim(any_engine, "w") is None


def test_giving_back_does_not_count_and_trying_again_does(any_engine: Engine) -> None:
    (name,) = submitted(any_engine)
    for _ in range(7):
        assert queue.give_back(any_engine, claimed(any_engine))
    assert queue.job(any_engine, name).attempts == 0
    problem = {"title": "profile store unavailable"}
    assert queue.again(any_engine, claimed(any_engine), 2, problem) == "queued"
    assert queue.again(any_engine, claimed(any_engine), 2, problem) == "failed"
    assert queue.job(any_engine, name).problem == problem


@pytest.mark.parametrize("how", ["give_back", "take_away", "again"])
def test_a_cancelled_job_that_leaves_its_worker_is_not_queued_again(any_engine: Engine, how: str) -> None:
    (name,) = submitted(any_engine)
    claim = claimed(any_engine)
    queue.cancel(any_engine, name)
    if how == "give_back":
        queue.give_back(any_engine, claim)
    elif how == "again":
        queue.again(any_engine, claim, 5, {"title": "no"})
    else:
        queue.take_away(any_engine, held(any_engine), 5, "it died")
    assert queue.job(any_engine, name).state == "cancelled"


def test_pages_hold_every_job_once_whatever_comes_in_between(any_engine: Engine) -> None:
    names = submitted(any_engine, 7)
    page = queue.jobs(any_engine, limit=3)
    found = [job.id for job in page.jobs]
    submitted(any_engine, 2)
    while page.next_cursor is not None:
        page = queue.jobs(any_engine, limit=3, cursor=page.next_cursor)
        found += [job.id for job in page.jobs]
    assert found == names[::-1]


def test_lists_by_kind_state_and_owner(any_engine: Engine) -> None:
    (plan,) = submitted(any_engine)
    (sweep,) = submitted(any_engine, kind="sweep", owner="bob")
    claimed(any_engine)

    def ids(**wanted) -> list[str]:
        return [job.id for job in queue.jobs(any_engine, **wanted).jobs]

    assert ids() == [sweep, plan]
    assert ids(kind="plan") == ids(state="running") == ids(owner="ann") == [plan]
    assert ids(kind="sweep", state="running") == []


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_of_impossible_size_is_refused(engine: Engine, limit: int) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        queue.jobs(engine, limit=limit)


@pytest.mark.parametrize("name", ["", "nobody", "../../etc/passwd", "' OR 1=1 --", "ä\u2028" * 500])
def test_an_unknown_id_is_a_clear_error(any_engine: Engine, name: str) -> None:
    submitted(any_engine)
    with pytest.raises(UnknownName):
        queue.job(any_engine, name)
    with pytest.raises(UnknownName):
        queue.cancel(any_engine, name)
    assert queue.states(any_engine, [name]) == {}


def test_an_id_that_no_database_keeps_is_refused(any_engine: Engine) -> None:
    with pytest.raises(InvalidInput):
        queue.job(any_engine, "a\0b")


def test_odd_texts_in_a_request_come_back_as_they_were(any_engine: Engine) -> None:
    odd = {"nul": "\0", "half": "\ud800", "quotes": "';--\"", "big": 10**30, "deep": [[[[{}]]]]}
    (name,) = submitted(any_engine, request=odd)
    assert claimed(any_engine).job.request == queue.job(any_engine, name).request == odd


def test_only_jobs_that_ended_long_ago_are_forgotten(any_engine: Engine) -> None:
    done, cancelled, running, queued = submitted(any_engine, 4)
    queue.finish(any_engine, claimed(any_engine))
    queue.cancel(any_engine, cancelled)
    claimed(any_engine)
    assert queue.prune(any_engine, now() - dt.timedelta(minutes=1)) == 0
    assert queue.prune(any_engine, now() + dt.timedelta(minutes=1)) == 2
    assert [job.id for job in queue.jobs(any_engine).jobs] == [queued, running]
    with pytest.raises(UnknownName):
        queue.job(any_engine, done)


def test_depth_tells_how_long_the_oldest_waits(any_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert queue.depth(any_engine) == (0, 0, 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "now", lambda: now() - dt.timedelta(hours=1))
        submitted(any_engine)
    submitted(any_engine)
    assert 3600 <= queue.depth(any_engine).oldest_queued_s < 3700
    with monkeypatch.context() as patch:
        patch.setattr(queue, "now", lambda: now() - dt.timedelta(days=1))
        assert queue.depth(any_engine).oldest_queued_s == 0.0  # a clock that went back: never negative


def test_a_long_label_is_cut(any_engine: Engine) -> None:
    (name,) = submitted(any_engine)
    queue.beat(any_engine, claimed(any_engine), 0.1, "x" * 10_000)
    assert queue.job(any_engine, name).progress_label == "x" * queue.MOST_LABEL


def test_a_job_is_in_the_store_before_anything_else_happens(database_url: str) -> None:
    engine = db.initialise(database_url)
    (name,) = submitted(engine)
    engine.dispose()  # as if the process were gone
    assert queue.job(db.connect(database_url), name).state == "queued"
