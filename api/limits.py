"""What a body may be: so large, so deep, and JSON as the standard has it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from email.message import Message
from typing import Any

import numpy as np
from starlette.requests import Request

from api.problems import Refused
from planner.documents import parse_json
from planner.errors import InvalidInput

MOST_DEPTH = 64
"""Lists and objects inside each other: the deepest spec has 12, and parsers of others stop at some hundreds."""

_OPENING, _CLOSING = b"[{", b"]}"
_NOT_BRACKETS = bytes(set(range(256)) - set(_OPENING + _CLOSING))


class LimitedRequest(Request):
    """A request whose body is counted while it is read, whatever its header says of its length."""

    document: Any = None
    """The body as JSON, once ``read_json`` has read it."""

    async def stream(self) -> AsyncGenerator[bytes]:
        """The body piece by piece; ``Refused`` (413) as soon as it is more than ``most_body_mib``."""
        most_mib = self.app.state.settings.most_body_mib
        too_large = Refused(413, f"the body is larger than {most_mib:g} MiB", field="body",
                            fix="send less at once, or raise GPUPLAN_MOST_BODY_MIB on the server")  # fmt: skip
        announced = self.headers.get("content-length", "0")
        if announced.isdigit() and int(announced) > most_mib * 2**20:
            raise too_large
        num_bytes = 0
        async for piece in super().stream():
            num_bytes += len(piece)
            if num_bytes > most_mib * 2**20:
                raise too_large
            yield piece

    async def read_json(self) -> None:
        """Read the body strictly; where there is none, whoever needs it says so.

        Raises ``Refused`` (413, 415) and ``InvalidInput``.
        """
        declared = self.headers.get("content-type")
        if declared is not None and not _is_json(declared):
            raise Refused(415, f"the body is {declared[:100]!r}, not JSON", field="Content-Type",
                          fix="send application/json")  # fmt: skip
        body = await self.body()
        if not body:
            return
        if declared is None:
            raise Refused(415, "nothing says what the body is", field="Content-Type", fix="send application/json")
        self.document = strict_json(body)

    async def json(self) -> Any:
        """The body as ``read_json`` read it."""
        return self.document


def strict_json(body: bytes) -> Any:
    """JSON in UTF-8, no deeper than ``MOST_DEPTH``, without keys twice, NaN or Infinity; else ``InvalidInput``."""
    if depth(body) > MOST_DEPTH:
        raise InvalidInput(f"is nested more than {MOST_DEPTH} deep", field="body")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"is not UTF-8 (byte {error.start})", field="body", fix="send JSON in UTF-8") from None
    return parse_json(text, "body")


def depth(body: bytes) -> int:
    """How many brackets are open at once at most, those in strings aside. Never slower than copying the body."""
    outside = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    brackets = np.frombuffer(outside.translate(None, _NOT_BRACKETS), dtype=np.uint8)
    if not len(brackets):
        return 0
    steps = np.where(np.isin(brackets, np.frombuffer(_OPENING, dtype=np.uint8)), 1, -1)
    return int(np.cumsum(steps).max(initial=0))


def _is_json(content_type: str) -> bool:
    message = Message()
    message["content-type"] = content_type.partition("\n")[0]
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))
