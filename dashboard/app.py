"""The dashboard as a web application: ``gpuplan dashboard`` runs it, or ``streamlit run dashboard/app.py``.

The script of the pages lies beside them: next to a folder called ``pages`` Streamlit would take its files for pages of
their own when the first visitor comes by a deep link.
"""

from __future__ import annotations

from pathlib import Path

import altair  # noqa: F401 - with pandas, half a second that the first visitor need not wait for
import streamlit as st
from starlette.middleware import Middleware

from dashboard import states
from dashboard.document import OwnDocument

app = st.App(
    Path(__file__).parent / "pages" / "frame.py",
    middleware=[Middleware(OwnDocument)],
    on_script_error=states.defect,
)
