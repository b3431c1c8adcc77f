"""The report on a storage commitment (PS3.4 J.3.3): what it says, and how it goes over an association of ours."""

from django.conf import settings
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pacs.dimse import data_sets
from pacs.dimse.association import Context
from pacs.dimse.message import Command, CommandField, Status, is_warning, normalized_request
from pacs.dimse.negotiation import own_titles
from pacs.dimse.pdu import Role
from pacs.dimse.requestor import associate
from pacs.models import ApplicationEntity, ReportedOver, StorageCommitment
from pacs.services.commitment import REPORT, claim_for_job, not_reported, reported
from radiology.errors import NotAcceptable, NotAllowed, RadiologyError, Unreachable
from radiology.models import Job
from radiology.services.jobs import handles

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
INSTANCE = "1.2.840.10008.1.20.1.1"
ALL_COMMITTED, SOME_FAILED = 1, 2  # PS3.4 J.3.3.1
# A requester that answers the report with a failure is told again so often.
REFUSALS = 5


def report_of(commitment: StorageCommitment) -> tuple[Command, Dataset]:
    """The N-EVENT-REPORT (PS3.4 Table J.3-2)."""
    failed = {(sop_class, sop_instance): reason for sop_class, sop_instance, reason, _ in commitment.failures}
    information = Dataset()
    information.TransactionUID = commitment.transaction_uid
    references = [(sop_class, sop_instance) for sop_class, sop_instance in commitment.requested]
    committed = [_reference(*each) for each in references if each not in failed]
    if committed:
        information.RetrieveAETitle = settings.DIMSE["AE_TITLE"]
        information.ReferencedSOPSequence = Sequence(committed)
    if failed:
        information.FailedSOPSequence = Sequence([_reference(*each, reason) for each, reason in failed.items()])
    command = normalized_request(
        CommandField.N_EVENT_REPORT_RQ,
        sop_class_uid=STORAGE_COMMITMENT,
        sop_instance_uid=INSTANCE,
        EventTypeID=SOME_FAILED if failed else ALL_COMMITTED,
    )
    return command, information


def _reference(sop_class_uid: str, sop_instance_uid: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item


def is_taken(status: int) -> bool:
    """Whether the response to a report says that the requester has it."""
    return status == Status.SUCCESS or is_warning(status)


@handles(REPORT)
def run(job: Job) -> None:
    """Tell the requester over an association of ours, where it has not been told yet.

    Raises Unreachable when that fails: tried again later. NotAcceptable when the node takes no reports
    or keeps refusing this one, NotAllowed when its registration is not active: a person looks after that.
    """
    commitment = claim_for_job(pk=job.arguments["commitment"])
    if commitment is None or commitment.node is None:
        return
    try:
        status = _tell(commitment.node, commitment)
        if not is_taken(status):
            text = f"{commitment.node.title} answers the report with status {status:04X}."
            raise Unreachable(text) if job.attempts < REFUSALS else NotAcceptable(text)
    except RadiologyError as error:
        not_reported(commitment=commitment, remark=error.message)
        raise
    reported(commitment=commitment, over=ReportedOver.NEW_ASSOCIATION)


def _tell(node: ApplicationEntity, commitment: StorageCommitment) -> int:
    if not node.is_active:
        raise NotAllowed(f"The node {node.title} is not active.")
    # PS3.4 J.3.3: we are provider of the class although we ask for the association (PS3.7 D.3.3.4). Peers
    # that answer no role selection take the report all the same.
    with associate(
        node,
        [(STORAGE_COMMITMENT, (ExplicitVRLittleEndian, ImplicitVRLittleEndian))],
        roles={STORAGE_COMMITMENT: Role(scu=False, scp=True)},
        calling=commitment.called_ae_title if commitment.called_ae_title in own_titles() else "",
    ) as association:
        context: Context | None = next(iter(association.contexts.values()), None)
        if context is None:
            raise NotAcceptable(f"{node.title} takes no storage commitment reports at {node.host} port {node.port}.")
        command, information = report_of(commitment)
        return association.call(context, command, data_sets.encode(information, context.transfer_syntax))["Status"]
