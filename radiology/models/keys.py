"""Keys that leave the database."""

import uuid

import uuid6


def uuid7() -> uuid.UUID:
    """A time-ordered random UUID (RFC 9562, version 7) for `public_id` columns."""
    return uuid.UUID(int=uuid6.uuid7().int)
