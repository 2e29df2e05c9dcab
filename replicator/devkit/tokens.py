"""Tokens for the OAUTHBEARER users of local clusters."""

from __future__ import annotations

import base64
import json
import time


def unsecured_token(subject: str, lifetime_seconds: float = 3600.0) -> str:
    """Return an unsigned JSON Web Token that the SECURE listener of a local cluster accepts for that user."""
    now = time.time()
    header: dict[str, str | float] = {"alg": "none"}
    claims: dict[str, str | float] = {"sub": subject, "iat": now, "exp": now + lifetime_seconds}
    return f"{_encoded(header)}.{_encoded(claims)}."


def _encoded(part: dict[str, str | float]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
