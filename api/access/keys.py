"""API keys: what one looks like, and what the service keeps of it.

A key reads ``gpk_<id>_<secret>``. The secret is 256 random bits, so a plain SHA-256 of it is all that the store needs:
slow hashes protect what people think up and others can guess, and nobody guesses this.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal["read", "plan", "provision", "admin"]
"""What a key may do. Each stands for itself (a key to plan with cannot read others' plans); ``admin`` includes all."""

SCOPES: tuple[Scope, ...] = get_args(Scope)

_KEY = re.compile(r"gpk_([0-9a-f]{16})_([0-9a-f]{64})")


@dataclass(frozen=True)
class Key:
    """A key as the store knows it; ``digest`` is the SHA-256 of its secret, in hexadecimal."""

    id: str
    name: str
    digest: str
    scopes: tuple[str, ...]
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    last_used_at: dt.datetime | None

    def is_live(self, moment: dt.datetime) -> bool:
        """Whether it lets anyone in at that moment."""
        return self.revoked_at is None and (self.expires_at is None or moment < self.expires_at)


@dataclass(frozen=True)
class Presented:
    """A key as a caller shows it: the id to look up, and the digest to compare."""

    id: str
    digest: str


def new_secret() -> tuple[str, str, str]:
    """A new key: its id, the whole text that its owner keeps, and the digest that the store keeps."""
    key_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    return key_id, f"gpk_{key_id}_{secret}", _digest(secret)


def parse(text: str) -> Presented | None:
    """Read a key; None where the text is none."""
    match = _KEY.fullmatch(text)
    return Presented(match[1], _digest(match[2])) if match else None


def matches(key: Key, presented: Presented) -> bool:
    """Whether the secrets are the same, in a time that does not tell how much of them is."""
    return hmac.compare_digest(key.digest, presented.digest)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()
