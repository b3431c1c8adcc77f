"""Instance Availability Notification (PS3.4 Annex R), as user: N-CREATE to the nodes that ask."""

from django.conf import settings
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pacs.dimse import data_sets
from pacs.dimse.message import CommandField, Status, is_warning, normalized_request
from pacs.dimse.requestor import associate
from pacs.services.availability import NOTIFY, Available, Notice, PerformedStep, by_series, notice_of
from radiology.errors import NotAcceptable, Unreachable
from radiology.models import Job
from radiology.services.jobs import handles

INSTANCE_AVAILABILITY = "1.2.840.10008.5.1.4.33"
# A node that answers with a failure is told again so often.
REFUSALS = 5


@handles(NOTIFY)
def run(job: Job) -> None:
    """Tell one node of one study. Sent again after a lost answer, it is the same notification: 0111 then.

    Raises Unreachable when the node does not answer: tried again later. NotAcceptable when it does not take
    such notifications, or keeps refusing this one.
    """
    notice = notice_of(job=job)
    if notice is None:
        return
    node = notice.node
    with associate(node, [(INSTANCE_AVAILABILITY, (ExplicitVRLittleEndian, ImplicitVRLittleEndian))]) as association:
        context = next(iter(association.contexts.values()), None)
        if context is None:
            raise NotAcceptable(f"{node.title} does not take instance availability notifications.")
        command = normalized_request(
            CommandField.N_CREATE_RQ,
            sop_class_uid=INSTANCE_AVAILABILITY,
            sop_instance_uid=notice.sop_instance_uid,
        )
        encoded = data_sets.encode(attributes_of(notice), context.transfer_syntax)
        status = association.call(context, command, encoded)["Status"]
    if status not in (Status.SUCCESS, Status.DUPLICATE_SOP_INSTANCE) and not is_warning(status):
        text = f"{node.title} answers the availability notification with status {status:04X}."
        raise Unreachable(text) if job.attempts < REFUSALS else NotAcceptable(text)


def attributes_of(notice: Notice) -> Dataset:
    """The N-CREATE's attributes (PS3.4 Table R.3-1)."""
    attributes = Dataset()
    if not all(step.workitem_code is None or step.workitem_code.code_meaning.isascii() for step in notice.steps):
        attributes.SpecificCharacterSet = "ISO_IR 192"
    attributes.ReferencedPerformedProcedureStepSequence = Sequence(map(_step, notice.steps))
    attributes.StudyInstanceUID = notice.study_instance_uid
    attributes.ReferencedSeriesSequence = Sequence(
        _series(uid, instances) for uid, instances in by_series(notice.instances).items()
    )
    return attributes


def _step(step: PerformedStep) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = step.sop_class_uid
    item.ReferencedSOPInstanceUID = step.sop_instance_uid
    item.PerformedWorkitemCodeSequence = Sequence()
    if step.workitem_code is not None:
        code = Dataset()
        code.CodeValue = step.workitem_code.code_value
        code.CodingSchemeDesignator = step.workitem_code.coding_scheme_designator
        code.CodeMeaning = step.workitem_code.code_meaning
        item.PerformedWorkitemCodeSequence = Sequence([code])
    return item


def _series(series_instance_uid: str, instances: list[Available]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series_instance_uid
    item.ReferencedSOPSequence = Sequence(map(_instance, instances))
    return item


def _instance(available: Available) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = available.sop_class_uid
    item.ReferencedSOPInstanceUID = available.sop_instance_uid
    item.InstanceAvailability = available.availability
    item.RetrieveAETitle = settings.DIMSE["AE_TITLE"]
    return item
