"""Signatures as Standard Webhooks defines them (standardwebhooks.com, version 1)."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"


def new_secret() -> str:
    """A secret of 32 random bytes, as receivers write it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def headers_of(*, event_id: str, timestamp: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """What proves that `body` comes from us; one signature for each secret."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
