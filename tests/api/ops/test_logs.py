"""Logs: one shape whoever writes, and no secrets in any of it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from api.access.keys import new_secret
from api.ops.logs import HIDDEN, configure, redactor
from planner.settings import Settings

PASSWORD = "s3cr3t/pa:ss w@rd"  # noqa: S105 - of this test
URL = "postgresql://ann:s3cr3t%2Fpa%3Ass%20w%40rd@db.example:5432/plans"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the process logs from here on; everything is as before afterwards."""
    root, was = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure(Settings(database_url=URL), stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**was)


def _events(lines: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_every_logger_writes_the_same_shape(lines: io.StringIO) -> None:
    structlog.get_logger("gpuplan.test").info("ours", answer=42)
    logging.getLogger("uvicorn.error").warning("uvicorn's %s", "line")
    logging.getLogger("somewhere.else").error("a library's")
    logging.getLogger("noise").debug("below the level")
    shown = [(event["event"], event["level"], event["logger"]) for event in _events(lines)]
    assert shown == [
        ("ours", "info", "gpuplan.test"),
        ("uvicorn's line", "warning", "uvicorn.error"),
        ("a library's", "error", "somewhere.else"),
    ]
    assert _events(lines)[0]["answer"] == 42


def test_what_is_bound_to_a_request_is_on_each_of_its_lines(lines: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("a").info("one")
        logging.getLogger("b").warning("two")
    structlog.get_logger("a").info("three")
    assert [event.get("request_id") for event in _events(lines)] == ["r1", "r1", None]


def test_secrets_are_in_no_line_however_they_come(lines: io.StringIO) -> None:
    _, key, _ = new_secret()
    secret = key.rpartition("_")[2]
    log = structlog.get_logger("test")
    log.info(f"a caller sent {key}")
    log.info("headers", headers={"Authorization": f"Bearer {key}", "Cookie": f"session={secret}"}, api_key=key)
    log.info("deep", value=[{"a": (f"x {key}", {"token": secret})}])
    log.info(f"connecting to {URL}", url=URL)
    log.info(f"the driver said: password={PASSWORD}")
    log.info(f"conninfo: host=db password='{PASSWORD}'")
    logging.getLogger("lib").warning("sent %s to %s", f"Bearer {key}", URL)
    try:
        raise ValueError(f"cannot use {key} nor {PASSWORD}")
    except ValueError:
        log.exception("a defect")
        logging.getLogger("lib").exception("a defect of theirs")
    text = lines.getvalue()
    assert secret not in text
    assert PASSWORD not in text
    assert "s3cr3t" not in text
    assert len(_events(lines)) == 9, "each line is still one JSON object"
    assert "Traceback" in text


def test_what_is_no_secret_stays(lines: io.StringIO) -> None:
    log = structlog.get_logger("test")
    log.info("request", path="/v1/plans/0a1b", status=201, ms=1.5, caller=None, ok=True)
    log.info("see http://127.0.0.1:8000/docs for users@example.com", tokens_per_s=100.0)
    first, second = _events(lines)
    assert (first["path"], first["status"], first["ms"], first["caller"], first["ok"]) == (
        "/v1/plans/0a1b", 201, 1.5, None, True,
    )  # fmt: skip
    assert second["event"] == "see http://127.0.0.1:8000/docs for users@example.com"
    assert second["tokens_per_s"] == 100.0


def test_a_line_stays_one_line(lines: io.StringIO) -> None:
    structlog.get_logger("test").info("first\nsecond", path="\x1b[31m\r\n{}")
    assert len(lines.getvalue().splitlines()) == 1


def test_text_for_people(lines: io.StringIO) -> None:
    _, key, _ = new_secret()
    configure(Settings(database_url=URL, log_format="text"), lines)
    structlog.get_logger("test").info("hello", key_of_ann=key)
    assert "hello" in lines.getvalue()
    assert key not in lines.getvalue()


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=6), st.text(), st.text())
def test_the_password_of_the_database_is_nowhere(password: str, before: str, after: str) -> None:
    hide = redactor(f"postgresql://ann:{password}@db/plans")
    event = hide(None, "info", {"event": f"{before}{password}{after}", "more": [before + password]})
    assert HIDDEN in event["event"]
    # What stands around it can make up the same letters again only if it has them itself.
    if password not in before + HIDDEN + after:
        assert password not in json.dumps(event)


@pytest.mark.parametrize(
    "url", ["", "not a url", "sqlite:///gpuplan.db", "postgresql://ann@db/x", "postgresql://a:b@c:port/x"]
)
def test_any_url_will_do(url: str) -> None:
    assert redactor(url)(None, "info", {"event": "as it was"}) == {"event": "as it was"}
