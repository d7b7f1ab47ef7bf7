"""What a measured rate profile says of a request size."""

from __future__ import annotations

from bisect import bisect_left

from profiles.types import RateProfile


def sustained(profile: RateProfile, input_tokens: float, output_tokens: float) -> float:
    """Requests/s of one replica for requests of this size: that of the next larger measured size, so never optimistic.

    0 beyond the largest measured size: nothing is known there.
    """
    i, j = bisect_left(profile.input_tokens, input_tokens), bisect_left(profile.output_tokens, output_tokens)
    if i == len(profile.input_tokens) or j == len(profile.output_tokens):
        return 0.0
    return profile.requests_per_s[i][j]
