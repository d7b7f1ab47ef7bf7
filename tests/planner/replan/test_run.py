"""Nights: decided once, from what was known, one at a time, and finished by running again wherever they were killed."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from planner import audit
from planner.command import initialise_store
from planner.errors import Conflict, UnknownName
from planner.replan import run, store
from planner.replan.report import Report, as_markdown, exit_code
from planner.replan.request import ReplanOptions
from planner.replan.run import LOCK, replan
from planner.replan.service import Running, SavedService
from planner.store import load_plan
from profiles.db import exclusive, initialise
from tests.planner.replan.demands import real_shaped, write_csv
from tests.planner.replan.services import FIRST_DAY, flat, service

DAY = dt.timedelta(days=1)


def night(engine: Engine, day: dt.date = FIRST_DAY, **options: bool) -> Report:
    """The only service's report of a night."""
    return replan(engine, day, ReplanOptions(**options))[0]


def rented(running: Running | None) -> dict[str, int]:
    """Instances by unit, of what runs all day."""
    assert running is not None
    return {i.instance_type.removeprefix("chat/"): i.instances for i in running.plans[0].fleet}


def test_a_month_of_decisions(any_engine: Engine) -> None:
    """Quiet, then three times the demand, then a little less, then quiet again."""
    rates = np.concatenate([flat(21, 1.4), flat(4, 4.2), flat(3, 4.0), flat(12, 1.4)])
    store.save(any_engine, service(rates=rates))
    first = night(any_engine)
    assert (first.decision, first.exit_code) == ("first_plan", 0)
    assert rented(first.after) == {"large": 1}  # 1.4/s of 1.5/s
    assert load_plan(any_engine, first.plan_ids[0]).outcome == "optimal"
    assert night(any_engine, FIRST_DAY + DAY).decision == "forced_change"  # the first loud day was seen
    decided = [night(any_engine, FIRST_DAY + i * DAY) for i in range(2, 15)]
    words = [report.decision for report in decided]
    assert set(words) <= {"keep", "change", "forced_change"}
    assert rented(decided[1].after)["large"] >= 3  # 4.2/s of 1.5/s each
    assert rented(decided[-1].after)["large"] < max(rented(r.after)["large"] for r in decided)
    change = next(report for report in decided if report.decision == "change")
    assert change.usd_saved is not None
    assert change.usd_keep is not None
    assert change.usd_saved >= 0.03 * change.usd_keep
    assert [r.decision for r in store.decisions(any_engine, "chat", limit=100)][::-1][2:] == words


def test_a_night_that_is_decided_stays(any_engine: Engine, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "d.csv", flat(21, 1.4))
    store.save(any_engine, service(files=(file,)))
    first = night(any_engine)
    before = store.load(any_engine, "chat")
    write_csv(file, flat(21, 9.0))
    assert night(any_engine) == first
    assert store.load(any_engine, "chat") == before
    again = night(any_engine, again=True)
    assert again.decision == "first_plan"
    assert rented(again.after)["large"] > 3
    assert again.before is None
    assert night(any_engine) == again


def test_the_audit_log_has_who_decided(any_engine: Engine) -> None:
    store.save(any_engine, service(rates=flat(21, 1.4)))
    replan(any_engine, FIRST_DAY, ReplanOptions(dry_run=True), actor="ann")
    for again in (False, False, True):
        replan(any_engine, FIRST_DAY, ReplanOptions(again=again), actor="ann")
    replan(any_engine, FIRST_DAY + DAY)
    found = [entry for entry in audit.entries(any_engine) if entry.action == "service.replan"]
    assert [entry.actor for entry in found] == [audit.cli_actor(), "ann", "ann"]
    assert (found[-1].subject, found[-1].detail) == ("chat", {"date": str(FIRST_DAY), "decision": "first_plan"})


def test_what_cannot_be_read_any_more_costs_nobody_else_a_night(engine: Engine) -> None:
    """A decision and a service of a version that wrote them otherwise."""
    for name in ("decided", "fine", "saved"):
        store.save(engine, service(name, rates=flat(21, 1.4)))
    replan(engine, FIRST_DAY)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE decisions SET report = '{}' WHERE service = 'decided'")
        connection.exec_driver_sql("UPDATE services SET service = '{}' WHERE name = 'saved'")
    reports = replan(engine, FIRST_DAY)
    assert [(r.service, r.decision) for r in reports] == [
        ("decided", "failed"), ("fine", "first_plan"), ("saved", "failed"),
    ]  # fmt: skip
    assert all(report.problem is not None and report.problem.fix for report in reports if report.decision == "failed")
    again = replan(engine, FIRST_DAY, ReplanOptions(again=True))
    assert [report.decision for report in again] == ["keep", "first_plan", "failed"]
    assert [report.decision for report in replan(engine, FIRST_DAY)] == ["keep", "first_plan", "failed"]


def test_nights_go_forward(engine: Engine) -> None:
    store.save(engine, service(rates=flat(28, 1.4)))
    later = night(engine, FIRST_DAY + DAY)
    early = night(engine)
    assert early.decision == "failed"
    assert early.exit_code == 2
    assert store.decisions(engine, "chat") == (later,)


def test_a_dry_run_leaves_nothing(engine: Engine) -> None:
    store.save(engine, service(rates=flat(21, 1.4)))
    before = store.load(engine, "chat")
    tried = night(engine, dry_run=True)
    assert tried.decision == "first_plan"
    assert tried.plan_ids == ()
    assert (store.load(engine, "chat"), store.decisions(engine, "chat")) == (before, ())


def test_what_runs_is_kept_for_less_than_a_switch_costs(engine: Engine) -> None:
    """Two small ones carry 1/s as one large does, at 2.0 against 2.5 USD/h; but a start costs a fortune here."""
    store.save(engine, service(rates=flat(21, 0.95)))
    assert rented(night(engine).after) == {"small": 2}
    dear = {"start_up_s": 600, "usd_per_start": 1000.0}
    for terms, decision in (({"schedule": dear}, "keep"), ({}, "change")):
        plan = {"large": 2}
        running = Running.model_validate(
            {"since": FIRST_DAY, "plans": [{"fleet": [{"provider": "given", "region": "given", "market": "on_demand",
             "instance_type": f"chat/{name}", "instances": n} for name, n in plan.items()]}]}
        )  # fmt: skip
        store.save(engine, service(rates=flat(21, 0.95), **terms))
        store.set_running(engine, "chat", running)
        assert night(engine, FIRST_DAY + DAY, dry_run=True).decision == decision, terms


@pytest.mark.parametrize(
    ("limits", "words"),
    [({"budget_usd_per_hour": 3.0}, "3 are allowed"),
     ({"availability": [{"gpu": "A100", "max_instances": 1}]}, "limits.availability")],
)  # fmt: skip
def test_limits_that_what_runs_breaks_force_a_change(engine: Engine, limits: dict[str, object], words: str) -> None:
    initialise_store(str(engine.url))  # the GPUs must be known
    store.save(engine, service(rates=flat(21, 2.8)))
    assert rented(night(engine).after) == {"large": 2}
    store.save(engine, service(rates=flat(21, 1.4), limits=limits))
    forced = night(engine, FIRST_DAY + DAY)
    assert forced.decision == "forced_change"
    assert words in forced.reason
    assert rented(forced.after) == {"large": 1}


def test_what_is_not_on_offer_any_more_forces_a_change(engine: Engine) -> None:
    store.save(engine, service(rates=flat(21, 2.8)))
    night(engine)
    changed = service(rates=flat(21, 2.8)).model_dump(mode="json")
    changed["spec"]["services"][0]["units"][1]["name"] = "renamed"
    store.save(engine, SavedService.model_validate(changed))
    forced = night(engine, FIRST_DAY + DAY)
    assert forced.decision == "forced_change"
    assert "not on offer" in forced.reason
    assert forced.usd_keep is None


def test_infeasible_keeps_what_runs_and_says_why(any_engine: Engine) -> None:
    store.save(any_engine, service(rates=flat(21, 1.4)))
    first = night(any_engine)
    store.save(any_engine, service(rates=flat(21, 30.0), limits={"budget_usd_per_hour": 5.0}))
    report = night(any_engine, FIRST_DAY + DAY)
    assert (report.decision, report.exit_code) == ("infeasible", 3)
    assert report.after == first.after
    assert report.conflicts
    assert "carries too little in 24 of 24 hours" in report.reason
    assert night(any_engine, FIRST_DAY + DAY) == report
    assert "budget" in as_markdown(report)


def test_one_bad_service_does_not_stop_the_others(any_engine: Engine, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "d.csv", flat(21, 1.4))
    store.save(any_engine, service("bad", files=(tmp_path / "missing.csv",)))
    store.save(any_engine, service("good", files=(file,)))
    store.save(any_engine, service("tight", files=(file,), limits={"budget_usd_per_hour": 0.5}))
    reports = replan(any_engine, FIRST_DAY)
    assert [r.decision for r in reports] == ["failed", "first_plan", "infeasible"]
    assert reports[0].problem is not None
    assert "missing.csv" in str(reports[0].problem.field)
    assert exit_code(reports) == 2
    assert exit_code(reports[1:]) == 3
    assert exit_code(reports[1:2]) == 0
    write_csv(tmp_path / "missing.csv", flat(21, 1.4))
    assert [r.decision for r in replan(any_engine, FIRST_DAY)] == ["first_plan", "first_plan", "infeasible"]
    assert [r.service for r in replan(any_engine, FIRST_DAY, services=["good"])] == ["good"]
    with pytest.raises(UnknownName, match="godo"):
        replan(any_engine, FIRST_DAY, services=["good", "godo"])


def test_two_at_once(any_engine: Engine) -> None:
    store.save(any_engine, service(rates=flat(21, 1.4)))
    with exclusive(any_engine, LOCK) as mine:
        assert mine
        with pytest.raises(Conflict, match="another replan"):
            replan(any_engine, FIRST_DAY)
    assert night(any_engine).decision == "first_plan"


def test_a_service_that_changes_meanwhile_is_not_decided(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(engine, service(rates=flat(21, 1.4)))
    planned = run.planned_demand

    def meanwhile(*args: object) -> object:
        store.save(engine, service(rates=flat(21, 2.8)))
        return planned(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "planned_demand", meanwhile)
    report = night(engine)
    assert report.decision == "failed"
    assert store.decisions(engine, "chat") == ()
    monkeypatch.undo()
    assert night(engine).decision == "first_plan"


def test_prices_that_cannot_be_renewed_are_a_warning(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = {"format": "skypilot-catalogue", "file": str(tmp_path / "gone.csv"), "options": {"provider": "aws"}}
    wanted = service(rates=flat(21, 1.4)).model_dump(mode="json") | {"refresh": [renewed]}
    store.save(engine, SavedService.model_validate(wanted))
    report = night(engine)
    assert report.decision == "first_plan"
    assert any("gone.csv" in warning for warning in report.warnings)

    def broken(*_: object, **__: object) -> None:
        raise KeyError("a defect in a reader")

    monkeypatch.setattr("profiles.ingest.read", broken)
    again = night(engine, again=True)
    assert again.decision == "first_plan"
    assert "the log has it" in again.warnings[0]


def test_prices_are_renewed_and_change_what_runs(engine: Engine, tmp_path: Path) -> None:
    """A catalogue that something else writes every night: dearer than the budget, then cheap but for placeholders."""
    initialise_store(str(engine.url))
    file = tmp_path / "aws.csv"

    def published(l4: float, l40s: float, spot_of_l4: float) -> None:
        file.write_text(
            "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice\n"
            f"g6.xlarge,L4,1,4,16,{l4},us-east-1,,{spot_of_l4}\ng6e.xlarge,L40S,1,4,32,{l40s},us-east-1,,\n"
        )

    offers = {"providers": ["aws"], "regions": ["us-east-1"], "instance_types": ["g6.xlarge", "g6e.xlarge"]}
    source = {"format": "skypilot-catalogue", "file": str(file)}
    wanted = service(rates=flat(21, 2.0), limits={"budget_usd_per_hour": 5.0}).model_dump(mode="json")
    wanted["spec"] |= {"offers": offers}
    wanted["spec"]["services"][0] |= {
        "units": None, "max_utilisation": 0.8, "model": "meta-llama/Llama-3.1-8B-Instruct", "slo": {"tpot_ms": 100},
        "allow_roofline": True,
    }  # fmt: skip

    def decided(day: int, as_of: str) -> Report:
        renewed = source | {"options": {"provider": "aws", "as_of": as_of}}
        store.save(engine, SavedService.model_validate(wanted | {"refresh": [renewed]}))
        return night(engine, FIRST_DAY + day * DAY)

    published(l4=0.5, l40s=4.0, spot_of_l4=0.05)  # a tenth: stands for "not known"
    first = decided(0, "2026-01-26")
    assert (first.decision, first.warnings) == ("first_plan", ())
    assert set(rented(first.after)) == {"g6.xlarge"}
    assert first.changes[0].market == "on_demand"
    published(l4=4.9, l40s=0.3, spot_of_l4=0.49)
    second = decided(1, "2026-01-27")
    assert second.decision in ("change", "forced_change")
    assert set(rented(second.after)) == {"g6e.xlarge"}
    published(l4=0.5, l40s=6.0, spot_of_l4=0.5)
    third = decided(2, "2026-01-28")
    assert third.decision == "forced_change"
    assert "5 are allowed" in third.reason
    assert set(rented(third.after)) == {"g6.xlarge"}


def test_killed_anywhere_it_ends_the_same(tmp_path: Path, database_url: str) -> None:
    """Killed (-9) at random moments of a night of three services; run again, all is as if nothing had happened."""
    file = write_csv(tmp_path / "d.csv", real_shaped(30, 7, mean=2.0))

    def prepared(url: str) -> str:
        engine = initialise(url)
        for service_name in ("a", "b", "c"):
            store.save(engine, service(service_name, files=(file,)))
        engine.dispose()
        return url

    def state(url: str) -> object:
        engine = initialise(url)
        nights = [(s.running, store.decisions(engine, s.name)) for s in store.load_all(engine)]
        told = sorted((entry.action, entry.subject) for entry in audit.entries(engine))
        engine.dispose()
        return nights, told

    def started(url: str, day: dt.date) -> subprocess.Popen[bytes]:
        code = "from planner.cli import main; main()"
        command = [sys.executable, "-c", code, "replan", "--date", str(day), "--database", url, "--json"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    undisturbed, killed = prepared(f"sqlite:///{tmp_path / 'whole.db'}"), prepared(database_url)
    rng = np.random.default_rng(0)
    begun = time.monotonic()
    assert started(undisturbed, FIRST_DAY).wait() == 0
    taken_s = time.monotonic() - begun
    for _ in range(3):
        process = started(killed, FIRST_DAY)
        time.sleep(taken_s * rng.uniform(0.4, 1.0))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    process = started(killed, FIRST_DAY)
    process.wait()
    assert process.returncode == 0
    assert state(killed) == state(undisturbed)
