"""What a page shows instead of an answer: nothing yet, no possible plan, a refusal, a service that is away."""

from __future__ import annotations

import logging
from collections.abc import Callable

import streamlit as st

from dashboard import tables
from dashboard.client import Document, Refused, ServiceError
from dashboard.words import plain

_log = logging.getLogger("gpuplan.dashboard")

LOOK_AGAIN_S = 2.0
"""How often a page asks for a service that is away."""


def empty(title: str, next_step: str) -> None:
    """Nothing there yet, and what would put something there."""
    with st.container(border=True):
        st.markdown(f"**{title}**")
        st.markdown(next_step)


def away(error: ServiceError, is_back: Callable[[], bool]) -> None:
    """The service is away: say so, look again by ourselves, and go on when it is back."""
    st.error(f"**{error.title}.** {plain(error.detail)}", icon=":material/cloud_off:")
    if error.fix:
        st.markdown(error.fix[0].upper() + error.fix[1:] + ".")

    @st.fragment(run_every=LOOK_AGAIN_S)
    def look_again() -> None:
        if is_back():
            st.rerun()
        st.caption("Looking again every two seconds …")

    look_again()


def refused(error: Refused) -> None:
    """The service said no: what, where, and what would work."""
    title = _TITLES.get(error.status) or plain(error.title.capitalize())
    where = f" {plain(error.field)}:" if error.field else ""
    st.error(f"**{title}.**{where} {plain(error.detail)}", icon=":material/block:")
    if error.mistakes:
        tables.show([{"field": m["field"], "mistake": m["detail"]} for m in error.mistakes], name="mistakes")
    fix = _FIXES.get(error.status) or plain(error.fix)
    if fix:
        st.markdown(f"What helps: {fix}")


def defect(error: Exception) -> bool:
    """A defect of this page; its trace is in the log of the dashboard, not on the page."""
    _log.error("a page failed", exc_info=error)
    st.error(f"**This page has a defect** ({type(error).__name__}). The terminal that runs `gpuplan dashboard` "
             "shows where; the other pages go on.", icon=":material/bug_report:")  # fmt: skip
    return True


_TITLES = {
    401: "This service asks for an API key",
    403: "This key may not do that",
    404: "There is no such thing",
    412: "Somebody else changed it meanwhile",
    413: "Too large",
    429: "Too many requests just now",
}
_FIXES = {
    401: "type a key under *Service* in the sidebar; `gpuplan keys create NAME --scope read --scope plan` makes one"
}


def no_plan(plan: Document) -> bool:
    """Show why a plan has no answer; False (and nothing shown) where it has one.

    A plan that its own check refused is never shown as good.
    """
    check = plan.get("check")
    if check and not check["passed"]:
        st.error(
            "**This plan failed its independent check**, so it is not shown as an answer.", icon=":material/gpp_bad:"
        )
        tables.show(check["violations"], name="violations")
        return True
    if plan["outcome"] == "no_solution":
        st.warning("**Nothing was found within the time limit.** Allow more time, or ask for less.",
                   icon=":material/timer_off:")  # fmt: skip
        _conflicts(plan)
        return True
    if plan["outcome"] != "infeasible":
        return False
    st.warning("**No plan can do this**, and that is proven.", icon=":material/do_not_disturb_on:")
    _conflicts(plan)
    return True


def _conflicts(plan: Document) -> None:
    """What cannot hold together, and the smallest change of each limit that would help."""
    for conflict in plan["conflicts"]:
        st.markdown(plain(conflict["detail"]))
        if conflict["relaxations"]:
            st.markdown("Any one of these alone would make it possible:")
            rows = [
                {"limit": one["limit"], "now": one["current"], "needed": one["needed"], "why": one["detail"]}
                for one in conflict["relaxations"]
            ]
            tables.show(rows, name="relaxations")
