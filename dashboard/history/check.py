"""Does a saved plan still hold? The service checks it again, against what is known now."""

from __future__ import annotations

import streamlit as st

from dashboard import tables
from dashboard.client import Client, Document


def show(client: Client, plan_id: str, plan: Document) -> None:
    """The verdict on a plan today, and whether facts have changed since it was made."""
    with st.spinner("Checking again, without the solver …"):
        found = client.get(f"/v1/plans/{plan_id}/check")
    changed = found["profile_digest"] != plan["profile_digest"]
    if found["passed"]:
        st.success("**It holds.** An independent check derived every figure and limit again, from the spec and what is "
                   "known now.", icon=":material/verified:")  # fmt: skip
    else:
        num = len(found["violations"])
        st.error(f"**It does not hold any more:** {num} thing{'s' if num > 1 else ''} in it "
                 f"{'are' if num > 1 else 'is'} not so by what is known now.", icon=":material/gpp_bad:")  # fmt: skip
        tables.show(found["violations"], name="violations")
    if changed:
        st.info("**Facts have changed since**: prices, measurements or offers are not what this plan was made from. "
                "Open it as a what-if to plan again.", icon=":material/update:")  # fmt: skip
    else:
        st.markdown("Facts are the same as when it was made.")
    tables.show(
        [{"facts": "when it was planned", "digest": plan["profile_digest"] or "–"},
         {"facts": "now", "digest": found["profile_digest"]}],
        name="facts behind it", about={"digest": "of every GPU, price and measurement that is known"},
    )  # fmt: skip
