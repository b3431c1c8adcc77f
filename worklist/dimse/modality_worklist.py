"""The Modality Worklist service (PS3.4 Annex K): C-FIND, by any of our titles."""

from collections.abc import Iterator
from typing import Any

from pydicom import Dataset

from pacs.dimse.answer_encoding import AnswerEncoding
from pacs.dimse.identifiers import CHARACTER_SET, TIME_ZONE, keys_of, text_of
from pacs.dimse.message import CommandField, Status
from pacs.dimse.services import Answer, Operation, Request, Service
from radiology.dicom import encodings, parse_offset
from radiology.errors import InvalidValue, RadiologyError
from worklist.models import ScheduledProcedureStep
from worklist.services.modality_worklist import WorklistSearch
from worklist.services.query_log import record_query
from worklist.services.worklist_rules import Station, station_of

MODALITY_WORKLIST_FIND = "1.2.840.10008.5.1.4.31"


def find(request: Request) -> Iterator[Answer]:
    """PS3.4 K.4.1. The question is written down before the final answer, answered or refused."""
    station = station_of(node=request.node, title=request.association.calling_ae_title)
    asked: dict[str, Any] = {"keys": {}, "offset": ""}
    answered = 0
    try:
        identifier = request.data_set()
        search, encoding = _understood(request, station, identifier, asked)
        status = Status.PENDING_OPTIONAL_KEYS if search.unsupported else Status.PENDING
        found = search.answers(ScheduledProcedureStep.objects.all())
        for answer in found:
            if request.is_cancelled():
                yield Answer(Status.CANCEL)
                return
            answered += 1
            yield Answer(status, encoding.attributes(answer), may_wait=True)
    except RadiologyError as error:
        _record(request, station, asked, error=error.message, error_field=error.field)
        raise
    _record(request, station, asked, answered=answered)
    yield Answer(Status.SUCCESS)


def _understood(
    request: Request, station: Station, identifier: Dataset, asked: dict[str, Any]
) -> tuple[WorklistSearch, AnswerEncoding]:
    """The search that an identifier asks for, and how to write its answers; the question goes into `asked`."""
    request_set = text_of(identifier, CHARACTER_SET, [])
    codecs = encodings(request_set)
    keys, offset = keys_of(identifier, codecs), text_of(identifier, TIME_ZONE, codecs)
    asked |= {"keys": keys, "offset": offset}
    zone = parse_offset(offset)
    if offset and zone is None:
        raise InvalidValue("TimezoneOffsetFromUTC must be like +0700.", field="TimezoneOffsetFromUTC")
    if TIME_ZONE in identifier:
        keys = {**keys, "TimezoneOffsetFromUTC": ""}
    search = WorklistSearch(station=station, keys=keys, zone=zone)
    return search, AnswerEncoding(request.node.specific_character_set, request_set, fitting=True)


def _record(request: Request, station: Station, asked: dict[str, Any], **outcome: Any) -> None:
    record_query(station=station, node=request.node, address=request.association.address, **asked, **outcome)


SERVICES = [
    Service(
        sop_classes=frozenset({MODALITY_WORKLIST_FIND}),
        operations={CommandField.C_FIND_RQ: Operation(find, right="may_ask_worklist")},
    ),
]
