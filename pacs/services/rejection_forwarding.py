"""Rejection notes go on to the nodes that hold copies of what they reject (IHE IOCM, RAD-66)."""

from typing import Any

from pacs.models import ApplicationEntity, Removal, Transfer, TransferDirection
from pacs.services.transfers import send_note
from radiology.models import Job
from radiology.services.jobs import handles


@handles("pacs.forward_rejection")
def forward(job: Job) -> None:
    """Begin to send the note to each node that was sent objects which it rejects. Safe to run twice."""
    removal = Removal.objects.select_related("site").filter(public_id=job.arguments["removal"]).first()
    if removal is None or removal.restored_at is not None:
        return
    for node in holders_of(removal):
        send_note(node=node, removal=removal)


def holders_of(removal: Removal) -> list[ApplicationEntity]:
    """The active nodes that were sent something of what is rejected, but for the one that the note came from."""
    sent: dict[str, Any] = {"direction": TransferDirection.SEND, "site": removal.site_id}
    names = removal.instances.values("sop_instance_uid")
    of_objects = Transfer.objects.filter(results__sop_instance_uid__in=names, results__outcome__gt=0, **sent)
    nodes = ApplicationEntity.objects.active().filter(
        pk__in=of_objects.values("node"), may_receive=True, takes_rejection_notes=True
    )
    return list(nodes.exclude(title=removal.agent if removal.user_id is None else ""))
