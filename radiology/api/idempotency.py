"""The header in which a caller gives a request its own key (IETF draft: The Idempotency-Key HTTP Header Field)."""

from typing import Any

from radiology.services.idempotency import Outcome

HEADER = "Idempotency-Key"
# For the `headers` of an operation.
DOCUMENTED = {
    HEADER: "A key of your own for this request, such as a UUID: sent again with the same body, it makes nothing "
    "twice and is answered as the first time (`Idempotency-Replayed: true`); with another body, it is refused (409)."
}


def key_of(request: Any) -> str:
    """The key of a request, with or without the quotes of a structured field; empty when there is none."""
    value: str = request.headers.get(HEADER, "").strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return value


def replayed(outcome: Outcome) -> dict[str, str]:
    """The header that says that an earlier request made it."""
    return {"Idempotency-Replayed": "true"} if outcome.is_repeated else {}
