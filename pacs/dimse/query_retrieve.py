"""The Query/Retrieve service, Patient Root and Study Root (PS3.4 Annex C): C-FIND, C-MOVE, C-GET."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Literal

from pydicom import Dataset
from pydicom.multival import MultiValue

from pacs.dimse.find import find as matches
from pacs.dimse.message import CommandField, Status
from pacs.dimse.scu import Sender
from pacs.dimse.sending import Sending
from pacs.dimse.services import Answer, Operation, Request, Service
from pacs.dimse.suboperations import Suboperations, Target, groups, targets_of
from pacs.dimse.upcoming import Upcoming
from pacs.models import ApplicationEntity, Location
from radiology.dicom import is_uid
from radiology.errors import InvalidValue, NotAcceptable, OutOfResources, UnknownDestination, Unreachable
from radiology.models import AuditAction

PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{n}" for n in (1, 2, 3))
STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET = (f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3))
PATIENT_ROOT = frozenset({PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET})
LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
UNIQUE_KEYS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
# While a destination is waited for, the requestor is told this often that the operation goes on.
SIGN_SECONDS = 10.0
# A destination that has as many associations as it may is waited for; nobody could begin the operation again for us.
PLACE_SECONDS = 120.0


def find(request: Request) -> Iterator[Answer]:
    """PS3.4 C.4.1."""
    identifier = request.data_set()
    extended = request.association.extended.get(request.context.abstract_syntax, b"")
    request.detail["level"] = str(identifier.get("QueryRetrieveLevel", ""))[:16]
    answers = matches(
        who=request.node,
        node=request.node,
        model=_root(request),
        identifier=identifier,
        relational=extended[:1] == b"\x01",
        combined=extended[1:2] == b"\x01",
    )
    for count, (status, attributes) in enumerate(answers, 1):
        if request.is_cancelled():
            yield Answer(Status.CANCEL)
            return
        request.detail["answers"] = count
        yield Answer(status, attributes, may_wait=True)
    yield Answer(Status.SUCCESS)


def move(request: Request) -> Iterator[Answer]:
    """PS3.4 C.4.2. What the destination cannot take fails alone; the others go on."""
    selection = _selection(request)
    destination = _destination(request)
    request.detail["destination"] = destination.title
    progress = _progress(request, selection)
    originator = {
        "MoveOriginatorApplicationEntityTitle": request.association.calling_ae_title,
        "MoveOriginatorMessageID": request.message_id,
    }
    for contexts, targets in groups(progress.targets):
        if not progress.is_cancelled:
            sending = Sending(
                destination,
                contexts,
                targets,
                places=Location.objects.all,
                attempts=1,
                gives_up=False,
                patience=PLACE_SECONDS,
                originator=originator,
            )
            yield from _send_group(request, progress, sending, targets)
    yield progress.final()


def get(request: Request) -> Iterator[Answer]:
    """PS3.4 C.4.3: over the requestor's own association, on the contexts where it is provider of storage."""
    progress = _progress(request, _selection(request))
    contexts = [context for context in request.association.contexts.values() if context.role.scp]
    upcoming = Upcoming(progress.locations(progress.targets))
    with contextlib.closing(Sender(request.association, contexts)) as sender:
        for target, location in upcoming:
            if progress.cancel(request.is_cancelled()):
                break
            try:
                status = None if location is None else sender.send(location, following=upcoming.location)
            except (NotAcceptable, OutOfResources):
                status = None
            progress.count(target, status)
            yield progress.pending(may_wait=True)
    yield progress.final()


def _send_group(request: Request, progress: Suboperations, sending: Sending, targets: list[Target]) -> Iterator[Answer]:
    """Send the objects of one group. A broken association costs the object it broke with; a destination that
    cannot be had fails all that are left.
    """
    left = dict.fromkeys(targets)
    last = time.monotonic()
    try:
        with contextlib.closing(sending.results()) as results:
            for sent in results:
                if sent is not None:
                    del left[sent.target]
                    progress.count(sent.target, sent.status)
                    progress.comment = sent.error or progress.comment
                if progress.cancel(request.is_cancelled()):
                    sending.stop()
                elif sent is not None or time.monotonic() - last >= SIGN_SECONDS:
                    last = time.monotonic()
                    yield progress.pending(may_wait=True)
    except Unreachable as error:
        progress.comment = error.message
        for target in left:
            progress.count(target, None)


def _progress(request: Request, selection: dict[str, Any]) -> Suboperations:
    progress = Suboperations(targets_of(who=request.node, **selection))
    request.study_instance_uids = progress.study_instance_uids
    request.detail["instances"] = progress.counts
    return progress


def _destination(request: Request) -> ApplicationEntity:
    """The node of that title at the caller's site; among several, the caller's own machine first."""
    title = request.command.get("MoveDestination", "")
    found = list(ApplicationEntity.objects.destinations(title).filter(site=request.node.site))
    if not found:
        raise UnknownDestination("The move destination is no node that we may send to.")
    return next((node for node in found if node.host == request.association.address), found[0])


def _root(request: Request) -> Literal["PATIENT", "STUDY"]:
    return "PATIENT" if request.context.abstract_syntax in PATIENT_ROOT else "STUDY"


def _selection(request: Request) -> dict[str, Any]:
    """The keys of a retrieve request (PS3.4 C.4.2.2.1) as arguments of `instances_of`.

    The unique key of the level must be there; those above it narrow the choice when they are, which is
    also what relational retrieval asks for; those below it are not looked at.
    """
    identifier = request.data_set()
    level = str(identifier.get("QueryRetrieveLevel", "")).strip()
    request.detail["level"] = level[:16]
    if level not in LEVELS or (level == "PATIENT" and _root(request) != "PATIENT"):
        raise InvalidValue("The Query/Retrieve Level is none of this SOP class.", field="QueryRetrieveLevel")
    depth = LEVELS.index(level)
    uids = {name: _uids(identifier, UNIQUE_KEYS[name]) for name in LEVELS[1 : depth + 1]}
    patient_id = _text(identifier, "PatientID")
    if not (uids[level] if depth else patient_id):
        raise InvalidValue("The unique key of the level is missing.", field=UNIQUE_KEYS.get(level, "PatientID"))
    return {
        "study_instance_uids": uids.get("STUDY", []),
        "series_instance_uids": uids.get("SERIES", []),
        "sop_instance_uids": uids.get("IMAGE", []),
        "patient_id": patient_id,
        "issuer_of_patient_id": _text(identifier, "IssuerOfPatientID") if patient_id else "",
    }


def _uids(identifier: Dataset, keyword: str) -> list[str]:
    value = identifier.get(keyword)
    values = list(value) if isinstance(value, MultiValue) else [value]
    uids = [str(each).strip(" \x00") for each in values if each]
    if not all(is_uid(uid) for uid in uids):
        raise InvalidValue(f"{keyword} is no UID or list of UIDs.", field=keyword)
    return uids


def _text(identifier: Dataset, keyword: str) -> str:
    value = identifier.get(keyword)
    if isinstance(value, MultiValue):
        raise InvalidValue(f"{keyword} has several values where one belongs.", field=keyword)
    return str(value or "").strip(" \x00").replace("\x00", "")


def _answer_extended(bits: int) -> Any:
    """Grant the first `bits` proposed options (PS3.4 C.5.1.1: relational, then combined date-time)."""

    def answer(proposed: bytes) -> bytes:
        return bytes(int(option == 1 and number < bits) for number, option in enumerate(proposed))

    return answer


SERVICES = [
    Service(
        sop_classes=frozenset({PATIENT_ROOT_FIND, STUDY_ROOT_FIND}),
        operations={
            CommandField.C_FIND_RQ: Operation(find, right="may_query", event="dicom.find", action=AuditAction.EXECUTE)
        },
        answer_extended=_answer_extended(2),
    ),
    Service(
        sop_classes=frozenset({PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE}),
        operations={
            CommandField.C_MOVE_RQ: Operation(
                move,
                right="may_retrieve",
                event="dicom.move",
                action=AuditAction.READ,
                out_of_resources=Status.UNABLE_TO_CALCULATE_MATCHES,
            )
        },
        answer_extended=_answer_extended(1),
    ),
    Service(
        sop_classes=frozenset({PATIENT_ROOT_GET, STUDY_ROOT_GET}),
        operations={
            CommandField.C_GET_RQ: Operation(
                get,
                right="may_retrieve",
                event="dicom.get",
                action=AuditAction.READ,
                out_of_resources=Status.UNABLE_TO_CALCULATE_MATCHES,
            )
        },
        answer_extended=_answer_extended(1),
    ),
]
