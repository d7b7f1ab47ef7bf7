"""Structured logs on stderr: one JSON object per line, or text for people; secrets never, whoever logs them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Any, TextIO
from urllib.parse import unquote

import structlog
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError
from structlog.typing import EventDict, Processor, WrappedLogger

from planner.settings import Settings

HIDDEN = "***"

_SECRET_NAMES = re.compile(
    r"authorization|password|passwd|secret|token(?!s)|cookie|credential|api[-_]?key", re.IGNORECASE
)  # tokens, in the plural, are what models read and write
_SECRET_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(gpk_[0-9a-fA-F]{1,16})_\w+"), rf"\1_{HIDDEN}"),  # what is left tells which key it was
    (re.compile(r"\b(bearer|basic)\s+[^\s'\",;]+", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"(\w://[^\s:/@]*):[^\s/]*@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"\b(password|passwd|pwd|secret|token)\b(\s*[=:]\s*)('[^']*'|\"[^\"]*\"|[^\s&,;]+)", re.IGNORECASE),
     rf"\1\2{HIDDEN}"),
)  # fmt: skip
"""What secrets look like inside of a text: keys, header values, passwords in URLs and in options."""

_MAY_HOLD_SECRETS = re.compile(r"gpk_|bearer|basic|://|password|passwd|pwd|secret|token", re.IGNORECASE)
"""Found in every text that one of those fits: most texts have nothing of it, and are looked through once."""


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send everything that this process logs, uvicorn's lines included, to ``stream`` (stderr) in one shape."""
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if settings.log_format == "json":
        renderer: Processor = structlog.processors.JSONRenderer(default=str)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    final = (structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.format_exc_info,
             redactor(settings.database_url), renderer)  # fmt: skip
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def redactor(database_url: str) -> Callable[[WrappedLogger, str, EventDict], EventDict]:
    """A processor that hides secrets in every text of an event, however deep.

    Hidden are what looks like a secret, what is named like one, and the database's password wherever it turns up.
    """
    passwords = _passwords(database_url)

    def hide(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        hidden: EventDict = _hidden(dict(event), passwords)
        return hidden

    return hide


def _hidden(value: Any, passwords: tuple[str, ...]) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {str(name): HIDDEN if _SECRET_NAMES.search(str(name)) else _hidden(part, passwords)
                for name, part in value.items()}  # fmt: skip
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_hidden(part, passwords) for part in value]
    text = str(value)
    for password in passwords:
        text = text.replace(password, HIDDEN)
    if not _MAY_HOLD_SECRETS.search(text):
        return text
    for pattern, replacement in _SECRET_TEXTS:
        text = pattern.sub(replacement, text)
    return text


def _passwords(database_url: str) -> tuple[str, ...]:
    """The password, as it is and as the URL writes it; none for a URL that cannot be read."""
    try:
        password = make_url(database_url).password
    except (ArgumentError, ValueError):
        return ()
    if not password:
        return ()
    written = re.search(r"://[^:/@]*:(.*)@", database_url)
    forms = {str(password), written[1] if written else str(password), unquote(str(password))}
    return tuple(sorted(forms, key=len, reverse=True))
