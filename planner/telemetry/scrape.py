"""Fetching metrics from a URL: one address that a person named, limited in size and time, and nothing else."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from planner.errors import InvalidInput
from planner.telemetry.files import MOST_TEXT_BYTES

TIMEOUT_S = 30.0
"""For the whole answer: servers answer a scrape within a second, Prometheus a long query within several."""


def fetch(url: str) -> str:
    """The text at an http or https URL.

    Redirects to other hosts are refused. Raises ``InvalidInput`` where nothing answers within ``TIMEOUT_S``, the answer
    is not a success, is larger than ``MOST_TEXT_BYTES``, or is not text.
    """
    shown = _checked(url)
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(), urllib.request.HTTPErrorProcessor(),
                    urllib.request.HTTPDefaultErrorHandler(), _SameHost()):  # fmt: skip
        opener.add_handler(handler)
    ends = time.monotonic() + TIMEOUT_S
    try:
        with opener.open(urllib.request.Request(url), timeout=TIMEOUT_S) as answer:  # noqa: S310  # checked above
            content = _read(answer, ends, shown)
    except urllib.error.HTTPError as error:
        raise InvalidInput(f"answers {error.code} {error.reason}", field=shown, fix="check the URL") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InvalidInput(f"cannot be fetched: {getattr(error, 'reason', None) or error}", field=shown) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("does not answer with text", field=shown) from None


def _checked(url: str) -> str:
    """The URL without its query, as messages show it; ``InvalidInput`` for other schemes, and for passwords in it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidInput("is no http:// or https:// URL", field="SOURCE", fix="e.g. http://localhost:8000/metrics")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput("must not hold a user or password", field="SOURCE", fix="scrape to a file, and give that")
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _read(answer: Any, ends: float, shown: str) -> bytes:
    content = bytearray()
    while block := answer.read1(1 << 16):
        content += block
        if len(content) > MOST_TEXT_BYTES:
            raise InvalidInput(f"answers with more than {MOST_TEXT_BYTES >> 20} MiB", field=shown, fix="ask for less")
        if time.monotonic() > ends:
            raise InvalidInput(f"takes longer than {TIMEOUT_S:g} s to answer", field=shown)
    return bytes(content)


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows redirects on the host that was asked, and no others."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request to the new place, where it is on the same host."""
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise InvalidInput(f"redirects to another host ({new.netloc[:100]})", field=old.netloc, fix="ask that one")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
