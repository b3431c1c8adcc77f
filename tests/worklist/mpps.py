"""A modality that reports what it performs: pynetdicom over a socket, which shares no code with the daemon."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import build_context, evt
from pynetdicom.dimse_primitives import N_CREATE, N_GET, N_SET
from pynetdicom.dsutils import decode, encode

from tests.daemons import wait_until
from tests.factories import default_site
from tests.pacs.dimse_client import associate
from worklist.models import ScheduledProcedureStep

MPPS, RETRIEVE = "1.2.840.10008.3.1.2.3.3", "1.2.840.10008.3.1.2.3.4"


def of(**values: Any) -> Dataset:
    """A data set; lists under sequences' keywords are items."""
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, Sequence(value) if dictionary_VR(keyword) == "SQ" else value)
    return data_set


def item(step: ScheduledProcedureStep | None = None, **values: Any) -> Dataset:
    """An item of Scheduled Step Attributes Sequence as a device copies it from its worklist."""
    given = {"StudyInstanceUID": generate_uid(), "AccessionNumber": "", "RequestedProcedureID": ""}
    given["ScheduledProcedureStepID"] = ""
    if step is not None:
        procedure = step.requested_procedure_ref
        given = {
            "StudyInstanceUID": procedure.study_instance_uid,
            "AccessionNumber": procedure.order_ref.accession_number,
            "RequestedProcedureID": procedure.requested_procedure_id,
            "ScheduledProcedureStepID": step.scheduled_procedure_step_id,
        }
    return of(**{**given, "ReferencedStudySequence": [], **values})


def begun(*steps: ScheduledProcedureStep, **values: Any) -> Dataset:
    """What a device sends by N-CREATE; without steps an unscheduled examination. None removes an attribute."""
    patient = steps[0].requested_procedure_ref.order_ref.patient_ref if steps else None
    given = {
        "SpecificCharacterSet": "ISO_IR 100",
        "Modality": "CT",
        "ScheduledStepAttributesSequence": [item(step) for step in steps] or [item()],
        "PatientName": patient.patient_name if patient else "TANPA^JADWAL",
        "PatientID": patient.patient_id if patient else "MRN-U1",
        "PatientBirthDate": patient.patient_birth_date if patient else "19800101",
        "PatientSex": "M",
        "ReferencedPatientSequence": [],
        "PerformedProcedureStepID": "PPS1",
        "PerformedStationAETitle": "CT1",
        "PerformedStationName": "CT1",
        "PerformedLocation": "",
        **moment("Start"),
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "PerformedProcedureStepDescription": "CT Thorax",
        "PerformedProcedureStepEndDate": "",
        "PerformedProcedureStepEndTime": "",
        "StudyID": "1",
        "PerformedProtocolCodeSequence": [],
        "PerformedSeriesSequence": [],
        **values,
    }
    return of(**{keyword: value for keyword, value in given.items() if value is not None})


def ended(status: str = "COMPLETED", *, images: Any = (), series: str = "", **values: Any) -> Dataset:
    """What a device sends by N-SET at the end; `images` are SOP Instance UIDs."""
    references = [of(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=uid) for uid in images]
    one = of(
        SeriesInstanceUID=series or generate_uid(),
        ProtocolName="Thorax",
        PerformingPhysicianName="",
        OperatorsName="SARI^DEWI",
        SeriesDescription="Axial",
        RetrieveAETitle="",
        ReferencedImageSequence=references,
        ReferencedNonImageCompositeSOPInstanceSequence=[],
    )
    given = {"PerformedProcedureStepStatus": status, **moment("End"), "PerformedSeriesSequence": [one], **values}
    return of(**{keyword: value for keyword, value in given.items() if value is not None})


def moment(which: str, at: Any = None) -> dict[str, str]:
    now = (at or timezone.now()).astimezone(ZoneInfo(default_site().time_zone))
    return {
        f"PerformedProcedureStep{which}Date": now.strftime("%Y%m%d"),
        f"PerformedProcedureStep{which}Time": now.strftime("%H%M%S"),
    }


def reason(value: str, meaning: str = "Incorrect worklist entry selected") -> list[Dataset]:
    """Performed Procedure Step Discontinuation Reason Code Sequence."""
    return [of(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)]


class Modality:
    """An open association for MPPS and MPPS Retrieve; each call gives the response's command set.

    pynetdicom's own `send_n_…` may lose a response on a loaded machine, when one follows the other at once: its
    reactor takes what they wait for. Here the reactor rests from the beginning to the end.
    """

    def __init__(self, association: Any) -> None:
        self.association = association
        self.commands: list[Dataset] = []
        self.contexts = {str(each.abstract_syntax): each for each in association.accepted_contexts}
        association.bind(evt.EVT_DIMSE_RECV, lambda event: self.commands.append(event.message.command_set))
        association._reactor_checkpoint.clear()
        wait_until(lambda: association._is_paused, what="the reactor rests")

    def create(self, attributes: Dataset, uid: str | None = None) -> Dataset:
        request = N_CREATE()
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = MPPS, uid
        request.AttributeList = self.encoded(attributes, MPPS)
        return self.ask(request, MPPS)[0]

    def set(self, changes: Dataset, uid: str) -> Dataset:
        request = N_SET()
        request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = MPPS, uid
        request.ModificationList = self.encoded(changes, MPPS)
        return self.ask(request, MPPS)[0]

    def get(self, uid: str, tags: Any = ()) -> tuple[int, Dataset]:
        """The status, and the attributes."""
        request = N_GET()
        request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = RETRIEVE, uid
        request.AttributeIdentifierList = list(tags)
        command, response = self.ask(request, RETRIEVE)
        found = getattr(response, "AttributeList", None)
        return int(command.Status), decode(found, *self.syntax(RETRIEVE)) if found else Dataset()

    def ask(self, request: Any, sop_class: str) -> tuple[Dataset, Any]:
        """The command set of the response, and the response."""
        request.MessageID = len(self.commands) + 1
        self.association.dimse.send_msg(request, self.contexts[sop_class].context_id)
        _, response = self.association.dimse.get_msg(block=True)
        assert response is not None, "no response"
        return self.commands[-1], response

    def encoded(self, data_set: Dataset, sop_class: str) -> BytesIO:
        raw = encode(data_set, *self.syntax(sop_class))
        assert raw is not None
        return BytesIO(raw)

    def syntax(self, sop_class: str) -> tuple[bool, bool]:
        """Whether it is implicit, and whether it is little endian."""
        syntax = self.contexts[sop_class].transfer_syntax[0]
        return syntax.is_implicit_VR, syntax.is_little_endian


@contextmanager
def modality(port: int, *, calling: str = "CT1", syntax: str = ExplicitVRLittleEndian) -> Iterator[Modality]:
    association = associate(port, [build_context(MPPS, syntax), build_context(RETRIEVE, syntax)], calling=calling)
    assert association.is_established
    try:
        yield Modality(association)
    finally:
        association.release()
