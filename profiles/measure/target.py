"""The endpoint that is measured: whether it is there, lets us in, and serves the model."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from profiles.errors import InvalidInput, UnknownName

_MOST_BYTES = 10_000_000


@dataclass(frozen=True)
class Target:
    """An OpenAI-compatible endpoint: ``url`` with or without ``/v1``, and the name it serves the model by.

    The key is read from the environment variable ``api_key_env`` and appears nowhere else. Raises ``InvalidInput``
    for a URL that cannot be meant and for a variable that is not set.
    """

    url: str
    model: str
    api_key_env: str | None = None
    base: str = field(init=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            named = bool(parts.hostname) and parts.scheme in ("http", "https") and parts.port != 0
        except ValueError:  # a port that is no number, or half an IPv6 address
            named, parts = False, urlsplit("")
        if not named:
            raise InvalidInput("is no http:// or https:// URL", field="URL", fix="e.g. http://localhost:8000")
        if parts.username or parts.password or parts.query:
            raise InvalidInput("must hold no user, password or query", field="URL",
                               fix="put the key in an environment variable and name it with --api-key-env")  # fmt: skip
        if self.api_key_env is not None and not self.api_key:
            raise InvalidInput(f"the environment variable {self.api_key_env} is not set", field="--api-key-env",
                               fix="export it; give the name of the variable here, not the key")  # fmt: skip
        object.__setattr__(self, "base", self.url.rstrip("/").removesuffix("/v1"))

    @property
    def api_key(self) -> str | None:
        """The key itself; None without one."""
        return os.environ.get(self.api_key_env) if self.api_key_env is not None else None

    def greet(self, timeout_s: float = 10.0) -> None:
        """Ask for the list of models. Raises ``InvalidInput`` with what is wrong unless ``model`` is in it."""
        url = f"{self.base}/v1/models"
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  http or https, see above
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310
                body = response.read(_MOST_BYTES)
        except urllib.error.HTTPError as error:
            raise self._refused(url, error.code) from None
        except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
            reason = getattr(error, "reason", None) or error
            raise InvalidInput(f"cannot be reached: {reason}", field=url,
                               fix="check that the server is running and that the URL is right") from None  # fmt: skip
        served = _model_ids(body)
        if served is None:
            raise InvalidInput("is no OpenAI-compatible endpoint: its list of models is not one", field=url,
                               fix="give the server's base URL, e.g. http://localhost:8000")  # fmt: skip
        if self.model not in served:
            raise UnknownName("model of this endpoint", self.model, served, field="--model",
                              fix=f"it serves {', '.join(served) or 'none'}")  # fmt: skip

    def _refused(self, url: str, status: int) -> InvalidInput:
        if status in (401, 403):
            what, fix = "the endpoint refuses the API key", "check the key in the variable that --api-key-env names"
            if self.api_key_env is None:
                what, fix = "the endpoint wants an API key", "put it in an environment variable; add --api-key-env NAME"
        elif status == 404:
            what, fix = (
                "is no OpenAI-compatible endpoint (404)",
                "give the server's base URL, e.g. http://localhost:8000",
            )
        else:
            what, fix = f"answered with HTTP status {status}", "look at the server's log"
        return InvalidInput(what, field=url, fix=fix)


def _model_ids(body: bytes) -> list[str] | None:
    try:
        listed = json.loads(body)["data"]
        return [str(model["id"]) for model in listed]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
