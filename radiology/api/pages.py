"""Places in a list as a caller carries them: signed, so that what comes back is what was given."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.core import signing

from radiology.errors import InvalidValue

SALT = "api-cursor"


def cursor_of(*, order: Sequence[str], values: Sequence[Any], backwards: bool) -> str:
    """An opaque text for a place in a list of that order."""
    kept = [["at", value.isoformat()] if isinstance(value, datetime) else value for value in values]
    return signing.Signer(salt=SALT).sign_object([",".join(order), backwards, kept], compress=True)


def place_of(*, cursor: str, order: Sequence[str]) -> tuple[list[Any], bool]:
    """The values of a cursor, and whether it leads back. Raises InvalidValue for one of another order."""
    try:
        made_for, backwards, kept = signing.Signer(salt=SALT).unsign_object(cursor)
    except (signing.BadSignature, ValueError) as error:
        raise InvalidValue(
            "This cursor was not made here, or by an older version: start again without it.", field="cursor"
        ) from error
    if made_for != ",".join(order):
        raise InvalidValue("This cursor belongs to a list in another order: start again without it.", field="cursor")
    return [datetime.fromisoformat(each[1]) if isinstance(each, list) else each for each in kept], backwards


def link_header(links: dict[str, str]) -> str:
    """`Link` (RFC 8288) for pages that have an address."""
    return ", ".join(f'<{address}>; rel="{relation}"' for relation, address in links.items())


def with_cursor(*, address: str, asked: dict[str, str], cursor: str) -> str:
    """The same question, from another place on."""
    given = {name: value for name, value in asked.items() if value and name != "cursor"}
    return f"{address}?{urlencode({**given, 'cursor': cursor})}"
