"""What a person should look at: services without a plan, failed jobs, deployments that stopped half way, old facts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import streamlit as st

from dashboard.client import Client, Document, Refused
from dashboard.history.words import moment
from dashboard.overview.standing import Standing, fleet_now
from dashboard.words import plain

MOST_JOBS = 5
"""Failed jobs that are named."""

FAILED_WITHIN = dt.timedelta(days=1)
"""Older failures are history."""

MOST_SHOWN = 8
"""Lines that are shown at once."""

OLD_PRICE_DAYS, OLD_MEASUREMENT_DAYS = 30, 365
"""Clouds change list prices every few months, spot prices daily; engines get markedly faster within a year."""

MOST_PRICES_ASKED = 20
"""Instance types whose prices' age is asked for."""


@dataclass(frozen=True)
class Notice:
    """One thing, and what to do about it, as Markdown. ``wrong``: somebody has to act; ``mind``: good to know."""

    weight: Literal["wrong", "mind"]
    subject: str
    detail: str
    fix: str


def notices(client: Client, standings: Sequence[Standing], now: dt.datetime) -> list[Notice]:
    """Everything, what is wrong first."""
    found = [
        *_readiness(client),
        *_decisions(standings, now),
        *_failed_nights(client, standings),
        *_deployments(client),
        *_failed_jobs(client, now),
        *_old_prices(client, standings, now),
        *_old_measurements(client, standings, now),
    ]
    return sorted(found, key=lambda notice: notice.weight != "wrong")


def _readiness(client: Client) -> Iterator[Notice]:
    try:
        client.get("/readyz")
    except Refused:
        yield Notice("wrong", "the service", "it answers, but its store or its workers do not: nothing is planned",
                     "`gpuplan doctor` says what is missing; `gpuplan worker` starts a worker")  # fmt: skip


def _decisions(standings: Sequence[Standing], now: dt.datetime) -> Iterator[Notice]:
    for standing in standings:
        report = standing.decision
        name = plain(standing.name)
        if report is None:
            yield Notice("mind", name, "nothing is decided for it yet", "plan it now, below")
            continue
        if report["decision"] == "infeasible":
            why = "; ".join(conflict["detail"] for conflict in report["conflicts"]) or report["reason"]
            yield Notice("wrong", name, f"no plan can do what it asks for ({report['date']}): {plain(why)}",
                         plain(_relaxed(report)) or "loosen its limits or its SLO")  # fmt: skip
        elif (now.date() - dt.date.fromisoformat(report["date"])).days > 1:
            yield Notice("mind", name, f"its last decision is of {report['date']}",
                         "let `gpuplan replan` run every night, or plan it now, below")  # fmt: skip


def _failed_nights(client: Client, standings: Sequence[Standing]) -> Iterator[Notice]:
    """Of the newest night that was planned over REST: what failed is no decision, and only its job knows of it."""
    jobs = client.get("/v1/jobs", kind="replan", status="done", limit=1)["jobs"]
    if not jobs:
        return
    decided = {standing.name: standing.decision["date"] if standing.decision else "" for standing in standings}
    for report in client.get(f"/v1/jobs/{jobs[0]['id']}")["result"]["reports"]:
        name = report["service"]
        if report["decision"] == "failed" and name in decided and report["date"] > decided[name]:
            problem = report["problem"] or {}
            why = problem.get("detail") or report["reason"]
            yield Notice("wrong", plain(name), f"planning {report['date']} failed: {plain(why)}",
                         plain(problem.get("fix") or "") or "plan it again, below")  # fmt: skip


def _relaxed(report: Document) -> str:
    return next((one["detail"] for conflict in report["conflicts"] for one in conflict["relaxations"]), "")


def _deployments(client: Client) -> Iterator[Notice]:
    for deployment in client.get("/v1/deployments", limit=100)["deployments"]:
        named = plain(f"{deployment['name']} at {deployment['target']}")
        if deployment["state"] == "failed":
            yield Notice("wrong", named, f"applying plan {deployment['plan_id']} failed: {plain(deployment['reason'])}",
                         f"`gpuplan status {deployment['name']}`, then apply again or roll back")  # fmt: skip
        elif deployment["state"] == "applying":
            yield Notice("mind", named, f"a plan is being applied since {moment(deployment['created_at'])}",
                         "where it was interrupted, the same `gpuplan apply` goes on with it")  # fmt: skip


def _failed_jobs(client: Client, now: dt.datetime) -> Iterator[Notice]:
    for job in client.get("/v1/jobs", status="failed", limit=MOST_JOBS)["jobs"]:
        ended = dt.datetime.fromisoformat(job["finished_at"] or job["created_at"])
        if now - ended <= FAILED_WITHIN:
            problem = job["problem"] or {}
            why = plain(problem.get("detail") or "nobody knows why")
            yield Notice("mind", f"a {job['kind']} job", f"failed at {moment(ended.isoformat())}: {why}",
                         plain(problem.get("fix") or f"job {job['id']} has the rest"))  # fmt: skip


def _old_prices(client: Client, standings: Sequence[Standing], now: dt.datetime) -> Iterator[Notice]:
    rented = dict.fromkeys(one["instance_type"] for s in standings for one in fleet_now(s.saved, now))
    old = []
    for instance_type in list(rented)[:MOST_PRICES_ASKED]:
        dates = [price["as_of"] for price in client.get("/v1/prices", instance_type=instance_type)["items"]]
        if dates and (days := _days(max(dates), now)) > OLD_PRICE_DAYS:
            old.append((days, instance_type))
    if old:
        names = plain(", ".join(name for _, name in sorted(old, reverse=True)))
        yield Notice("mind", "prices", f"those of {names} are up to {max(old)[0]:,} days old",
                     "import newer ones: `gpuplan profiles import`, or `refresh` in the service")  # fmt: skip


def _old_measurements(client: Client, standings: Sequence[Standing], now: dt.datetime) -> Iterator[Notice]:
    models = {service["model"] for s in standings for service in s.saved["service"]["spec"]["services"]}
    if not models:
        return
    newest: dict[str, str] = {}
    for found in client.get("/v1/profiles/coverage")["cells"]:
        newest[found["model"]] = max(found["newest"], newest.get(found["model"], ""))
    for model in sorted(models & newest.keys()):
        if (days := _days(newest[model], now)) > OLD_MEASUREMENT_DAYS:
            yield Notice("mind", plain(model), f"its newest measurement is {days:,} days old",
                         "measure what runs: `gpuplan profiles measure endpoint`")  # fmt: skip


def drift(client: Client) -> list[Notice]:
    """What differs from its plan where deployments run; asks each target, so it may take seconds."""
    found = []
    for deployment in client.get("/v1/deployments", limit=100)["deployments"]:
        if deployment["state"] == "removed":
            continue
        name, target = deployment["name"], deployment["target"]
        named = plain(f"{name} at {target}")
        try:
            status = client.get(f"/v1/deployments/{quote(name, safe='')}", target=target)
        except Refused as error:
            found.append(Notice("wrong", named, plain(error.detail), plain(error.fix)))
            continue
        if not status["as_planned"]:
            units = [
                f"{u['unit']}: {u['ready']} of {u['wanted']} ready" for u in status["units"] if u["ready"] < u["wanted"]
            ]
            changed = [f"{change['key']}: {change['action']}" for change in status["drift"]]
            found.append(Notice("wrong", named, plain("; ".join([*changed, *units])) or "is not as planned",
                                f"`gpuplan apply` with plan {deployment['plan_id']} puts it back"))  # fmt: skip
    return found


def drift_on_request(client: Client) -> None:
    """A button that asks the targets; only where something is deployed."""
    if not client.get("/v1/deployments", limit=1)["deployments"]:
        return
    if st.button("Ask the targets what drifted", icon=":material/compare_arrows:",
                 help="compares what runs with its plan, field by field"):  # fmt: skip
        with st.spinner("Asking …"):
            found = drift(client)
        if found:
            show(found)
        else:
            st.markdown(":material/check_circle: Everything that is deployed is as planned.")


def show(notices: Sequence[Notice]) -> None:
    """A line for each; beyond ``MOST_SHOWN`` they are behind one more click."""
    if not notices:
        st.markdown(":material/check_circle: Nothing: all services have plans, and nothing failed.")
    st.markdown("\n".join(_line(notice) for notice in notices[:MOST_SHOWN]))
    if len(notices) > MOST_SHOWN:
        with st.expander(f"{len(notices) - MOST_SHOWN} more"):
            st.markdown("\n".join(_line(notice) for notice in notices[MOST_SHOWN:]))


def _line(notice: Notice) -> str:
    icon = ":material/error: " if notice.weight == "wrong" else ":material/info: "
    fix = f" *{notice.fix[:1].upper()}{notice.fix[1:]}.*" if notice.fix else ""
    return f"- {icon}**{notice.subject}**: {notice.detail.rstrip('.')}.{fix}"


def _days(date: str, now: dt.datetime) -> int:
    return (now.date() - dt.date.fromisoformat(date)).days
