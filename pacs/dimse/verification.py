"""The Verification service: C-ECHO (PS3.4 Annex A)."""

from collections.abc import Iterator

from pacs.dimse.message import CommandField, Status
from pacs.dimse.services import Answer, Operation, Request, Service

VERIFICATION = "1.2.840.10008.1.1"


def echo(request: Request) -> Iterator[Answer]:
    """Success: that the caller was let in is all there is to verify."""
    yield Answer(Status.SUCCESS)


SERVICES = [
    Service(sop_classes=frozenset({VERIFICATION}), operations={CommandField.C_ECHO_RQ: Operation(echo)}),
]
