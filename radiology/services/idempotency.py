"""Making something once, however often the request for it comes.

A caller gives each request that makes something a key of its own (a UUID, the number of its order). The
key is written in the transaction that makes the thing, under a unique constraint: of many requests with one
key, even at the same moment, one makes it, and the others wait and are told what was made. A request that
failed leaves no key behind, so that it can be sent again put right.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from radiology.errors import Conflict, InvalidValue
from radiology.models import ApiToken, IdempotencyKey
from radiology.services.rows import insert_missing

LONGEST_KEY = 255


@dataclass(frozen=True)
class Outcome:
    """What a request made, by a text that finds it again. `is_repeated`: an earlier request made it."""

    reference: str
    is_repeated: bool = False


def make_once(
    *, who: Any, site_id: int, key: str, operation: str, request: Mapping[str, Any], make: Callable[[], str]
) -> Outcome:
    """Call `make` unless a request of `who` with this key has made something; what that was, then.

    `make` runs in the transaction that keeps the key, and returns the reference that is kept (a public id).
    `operation` names what is made ("patient", "order"); it belongs to the request, as does its body,
    `request`, whose members may stand in any order. Without a key, `make` is called each time.
    Raises InvalidValue for a key that is none, Conflict when the key came with another request before.
    """
    if not key:
        with transaction.atomic():
            return Outcome(make())
    if len(key) > LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise InvalidValue(
            _("The key may have %(most)d printable ASCII characters at most.") % {"most": LONGEST_KEY},
            field="Idempotency-Key",
        )
    caller, digest = _caller(who), _digest(operation, request)
    row = IdempotencyKey(site_id=site_id, caller=caller, key=key, operation=operation, request_sha256=digest)
    with transaction.atomic():
        made = insert_missing([row], returning="key")
        if made:
            reference = make()
            IdempotencyKey.objects.filter(pk=made[key]).update(reference=reference)
            return Outcome(reference)
    known = IdempotencyKey.objects.get(caller=caller, key=key)
    if bytes(known.request_sha256) != digest:
        raise Conflict(
            _("This key came with another request before: give each request a key of its own."),
            field="Idempotency-Key",
        )
    return Outcome(known.reference, is_repeated=True)


def _caller(who: Any) -> str:
    """Whose key it is: a program's keys stay its own when its token is replaced."""
    if isinstance(who, ApiToken):
        return f"client:{who.client_id}"
    return f"user:{who.pk}"


def _digest(operation: str, request: Mapping[str, Any]) -> bytes:
    text = json.dumps([operation, request], sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).digest()
