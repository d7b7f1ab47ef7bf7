"""A night: every saved service is refreshed, forecast, planned, compared with what runs, and decided.

A decision and what runs by it are written together, after everything that it names: a night that is killed anywhere
is finished by running it again, and a night that is finished stays as it is.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from planner.audit import cli_actor
from planner.errors import Conflict, GpuplanError, InvalidInput, StoreError
from planner.progress import progress
from planner.replan import store
from planner.replan.decide import decide
from planner.replan.demand import planned_demand
from planner.replan.fleets import counts_of, usd_of
from planner.replan.fresh import Fresh, Night, fresh, peak_fleet
from planner.replan.kept import kept
from planner.replan.refresh import old_prices, refresh
from planner.replan.report import Hour, Problem, Report, changes
from planner.replan.request import ReplanOptions
from planner.replan.service import Fleet, Running, Terms
from profiles.db import exclusive

if TYPE_CHECKING:
    from sqlalchemy import Engine

LOCK = "replan"
NO_SOLUTION = Problem(title="no solution", status=500, detail="no plan was found within the time limit",
                      fix="give it more: --time-limit", exit_code=4)  # fmt: skip


def replan(
    engine: Engine,
    date: dt.date,
    options: ReplanOptions | None = None,
    services: Sequence[str] | None = None,
    actor: str | None = None,
) -> tuple[Report, ...]:
    """Decide ``date`` for the services of these names (None: all), one report each, by name.

    What was decided before is reported as it was. What fails is a report that says why, and does not stop the others.
    The audit log names ``actor`` for what is decided (None: who runs this process).

    Raises
    ------
    Conflict
        Another replan is at work on this store.
    UnknownName
        There is no service of a name.
    StoreError
        The store cannot be read or written.
    """
    options = options or ReplanOptions()
    with exclusive(engine, LOCK) as mine:
        if not mine:
            raise Conflict("another replan is at work on this store", fix="wait for it; then run this again")
        names = store.names(engine)
        for name in services or ():  # all must be there before the first is planned
            if name not in names:
                raise store.unknown(name, names)
        wanted = names if services is None else sorted(set(services))
        reports = []
        for i, name in enumerate(wanted):
            progress(name, i / len(wanted))
            reports.append(_night(engine, name, date, options, actor or cli_actor()))
        return tuple(reports)


def _night(engine: Engine, name: str, date: dt.date, options: ReplanOptions, actor: str) -> Report:
    stored = None
    try:
        stored = store.load(engine, name)
        done = _done(engine, name, date, options)
        if done is not None and not options.again:
            return done
        report = _decided(engine, stored, done, date, options)
        if report.is_final and not options.dry_run:
            store.record(engine, report, actor)
    except GpuplanError as error:
        return _failed(name, stored, date, error.detail, Problem(
            title=error.title, status=error.http_status, detail=error.detail, field=error.field, fix=error.fix,
            exit_code=error.exit_code))  # fmt: skip
    except Exception:  # a defect in one service must not cost the others their night
        logging.getLogger(__name__).exception("replan of %s failed", name)
        return _failed(name, stored, date, "planning broke off", Problem(
            title="gpuplan failed", status=500, detail="a defect in gpuplan; the log has it", exit_code=1))  # fmt: skip
    return report


def _done(engine: Engine, name: str, date: dt.date, options: ReplanOptions) -> Report | None:
    """What is decided already; None also for what cannot be read any more, where it is to be decided anew."""
    try:
        return store.decision(engine, name, date)
    except StoreError:
        if options.again:
            return None
        raise


def _decided(
    engine: Engine, stored: store.Stored, done: Report | None, date: dt.date, options: ReplanOptions
) -> Report:
    from planner.service import keep
    from profiles.store import snapshot

    running = _running_before(engine, stored, done, date)
    service, terms = stored.service, stored.service.terms
    warnings = list(() if options.dry_run else refresh(engine, service.refresh))
    if options.dry_run and service.refresh:
        warnings.append("a dry run imports nothing: facts are as they are in the store")
    planned = planned_demand(service, date)
    warnings += [f"{demand.service}: {note}" for demand in planned.reports for note in demand.notes]
    night = Night(service, planned, snapshot(engine), options.solve, running)
    going_on = None if running is None else kept(night)
    made = fresh(night)
    decision, reason = decide(going_on, made.candidate, terms.least_saving_fraction, terms.least_saving_usd)
    after, fleets = running, night.going_on
    if decision in ("change", "forced_change", "first_plan"):
        ids = [None if options.dry_run else keep(plan, plan.spec, engine) for plan in made.plans]
        after, fleets = made.running(night, ids), made.fleets
    warnings += [*made.notes, *old_prices(fleets, night.facts, date)]
    keep_usd, plan_usd = going_on.usd if going_on else None, made.candidate.usd
    return Report(
        service=stored.name, date=date, decision=decision, reason=reason, service_version=stored.version,
        mode=terms.mode, quantile=terms.quantile, horizon_days=terms.horizon_days, time_zone=service.time_zone,
        usd_keep=keep_usd, usd_plan=plan_usd, usd_plan_bound=made.usd_bound,
        usd_saved=None if keep_usd is None or plan_usd is None else keep_usd - plan_usd,
        usd_static_peak=_static_peak_usd(night, made), outcome=made.candidate.outcome, gap=made.gap,
        demand=planned.reports, hours=_hours(night, fleets), before=running, after=after,
        changes=changes(night.going_on, fleets) if fleets is made.fleets else (),
        conflicts=made.conflicts, warnings=tuple(dict.fromkeys(warnings)), profile_digest=night.facts.digest,
        problem=NO_SOLUTION if decision == "failed" else None,
    )  # fmt: skip


def _running_before(engine: Engine, stored: store.Stored, done: Report | None, date: dt.date) -> Running | None:
    """What ran before this night. Nights are decided in order, as each starts from the one before."""
    last = store.last_date(engine, stored.name)
    if last is not None and last > date:
        raise InvalidInput(f"nights up to {last} are decided already", field="date", fix=f"plan {last} or later")
    if done is not None and stored.running == done.after:
        return done.before
    return stored.running


def _static_peak_usd(night: Night, made: Fresh) -> float | None:
    """The busiest hour's plan in every hour, with its starts; what static mode plans anyhow."""
    if night.service.terms.mode == "static":
        return made.candidate.usd
    fleet = peak_fleet(night)
    if fleet is None:
        return None
    return usd_of((fleet,) * len(night.hours), night.before, night.prices, night.service.terms.schedule)


def _hours(night: Night, fleets: Sequence[Fleet]) -> tuple[Hour, ...]:
    """The planned hours; empty where nothing runs."""
    prices, rates = night.prices, night.planned.demand.services
    return tuple(
        Hour(start=hour, planned_requests_per_s={name: rates[name][i] for name in rates}, fleet=fleet,
             usd=sum(prices.get(place, 0.0) * instances for place, instances in counts_of(fleet).items()))
        for i, (hour, fleet) in enumerate(zip(night.hours, fleets, strict=False))
    )  # fmt: skip


def _failed(name: str, stored: store.Stored | None, date: dt.date, reason: str, problem: Problem) -> Report:
    """``stored`` is None where the service itself cannot be read; the report then has the usual terms."""
    terms = Terms() if stored is None else stored.service.terms
    running = None if stored is None else stored.running
    return Report(
        service=name, date=date, decision="failed", reason=reason,
        service_version=store.NEW if stored is None else stored.version,
        mode=terms.mode, quantile=terms.quantile, horizon_days=terms.horizon_days,
        time_zone="UTC" if stored is None else stored.service.time_zone,
        before=running, after=running, problem=problem,
    )  # fmt: skip
