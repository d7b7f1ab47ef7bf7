"""The address of a page restores its state: widgets are bound to it; what makes no sense in it is told, not obeyed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st


@contextmanager
def noted() -> Iterator[None]:
    """Say which values of the address were not usable; Streamlit removes them while the page runs."""
    asked = st.query_params.to_dict()
    slot = st.empty()
    yield
    dropped = {name: value for name, value in asked.items() if name not in st.query_params}
    if dropped:
        listing = ", ".join(f"`{name[:40]}={value[:40]}`".replace("\n", " ") for name, value in dropped.items())
        slot.info(f"The address had values that this page cannot use, and they were left out: {listing}",
                  icon=":material/link_off:")  # fmt: skip
