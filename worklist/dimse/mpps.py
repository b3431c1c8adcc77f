"""The Modality Performed Procedure Step service (PS3.4 Annex F): N-CREATE and N-SET, and N-GET of the Retrieve class.

Success is said when the row is committed, and the scheduled steps, procedures and orders behind it with it.
"""

from collections.abc import Callable, Iterator

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from pacs.dimse import data_sets
from pacs.dimse.message import CommandField, Status
from pacs.dimse.services import Answer, Operation, Request, Service
from pacs.services.json_encoding import BulkValue, encoded
from pacs.services.metadata import Attributes
from radiology.errors import CannotUnderstand
from radiology.models import AuditAction
from worklist.models import PerformedProcedureStep
from worklist.services.performed import MPPS, attributes_of_performed, create_performed, set_performed, studies_of
from worklist.services.performed_rules import MissingAttribute, MissingValue, StepEnded, WrongAttribute

MPPS_RETRIEVE = "1.2.840.10008.3.1.2.3.4"
# A step of ten thousand images lists them all.
LARGEST_STEP = 4 * 1024 * 1024
# PS3.4 F.7.2.2.2: "Performed Procedure Step Object may no longer be updated".
MAY_NO_LONGER_BE_UPDATED = 0xA710
# PS3.4 F.8.2.1: requested optional attributes are not supported.
NOT_ALL_ATTRIBUTES = 0x0001
REFUSALS = (
    (MissingAttribute, Status.MISSING_ATTRIBUTE),
    (MissingValue, Status.MISSING_ATTRIBUTE_VALUE),
    (WrongAttribute, Status.INVALID_ATTRIBUTE_VALUE),
)


def create(request: Request) -> Iterator[Answer]:
    """N-CREATE (F.7.2.1)."""
    yield _answered(request, create_performed)


def change(request: Request) -> Iterator[Answer]:
    """N-SET (F.7.2.2)."""
    yield _answered(request, set_performed)


def retrieve(request: Request) -> Iterator[Answer]:
    """N-GET (F.8.2.1): all attributes, or those that the request lists."""
    attributes, missing = attributes_of_performed(
        who=request.node,
        sop_instance_uid=request.sop_instance_uid,
        wanted=request.command.get("AttributeIdentifierList", ()),
    )
    data_set, is_whole = _data_set(attributes)
    status = Status.SUCCESS if is_whole and not missing else NOT_ALL_ATTRIBUTES
    fields = {"AttributeIdentifierList": missing} if missing else {}
    yield Answer(status, data_set, fields)


def _answered(request: Request, service: Callable[..., PerformedProcedureStep]) -> Answer:
    attributes = request.attributes(largest=LARGEST_STEP)
    try:
        performed = service(node=request.node, sop_instance_uid=request.sop_instance_uid, attributes=attributes)
    except StepEnded as error:
        fields = {"ErrorID": MAY_NO_LONGER_BE_UPDATED, "ErrorComment": error.message}
        return Answer(Status.PROCESSING_FAILURE, fields=fields)
    except WrongAttribute as error:
        status = next(status for kind, status in REFUSALS if isinstance(error, kind))
        fields = {"AttributeIdentifierList": [error.facts["tag"]], "ErrorComment": error.message}
        return Answer(status, fields=fields)
    request.study_instance_uids += studies_of(performed)
    request.detail["performed"] = performed.sop_instance_uid
    request.detail["status"] = performed.performed_procedure_step_status
    if performed.warnings:
        request.detail["warnings"] = performed.warnings
    return Answer(Status.SUCCESS, fields={"AffectedSOPInstanceUID": performed.sop_instance_uid})


def _data_set(attributes: Attributes) -> tuple[Dataset, bool]:
    """The data set, and whether it is all: what a device wrote against its value representation is left out."""
    found, is_whole = Dataset(), True
    for name, element in attributes.items():
        try:
            raw = b"".join(encoded({name: element}, bulk=_no_bulk))
            found.update(data_sets.decode(raw, ExplicitVRLittleEndian))
        except CannotUnderstand:
            is_whole = False
    if "SpecificCharacterSet" in found:
        found.SpecificCharacterSet = "ISO_IR 192"
    return found, is_whole


def _no_bulk(uri: str) -> BulkValue:
    raise CannotUnderstand("A performed step holds no bulk data.")


SERVICES = [
    Service(
        sop_classes=frozenset({MPPS}),
        operations={
            CommandField.N_CREATE_RQ: Operation(
                create, right="may_report_steps", event="dicom.mpps.create", action=AuditAction.CREATE
            ),
            CommandField.N_SET_RQ: Operation(
                change, right="may_report_steps", event="dicom.mpps.set", action=AuditAction.UPDATE
            ),
        },
    ),
    Service(
        sop_classes=frozenset({MPPS_RETRIEVE}),
        operations={
            CommandField.N_GET_RQ: Operation(
                retrieve, right="may_query", event="dicom.mpps.get", action=AuditAction.READ
            ),
        },
    ),
]
