"""The Storage service: C-STORE of every Storage SOP class in every transfer syntax (PS3.4 Annex B).

Each fragment goes from the socket's buffer to the store service; no object is ever held in memory.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from django.db import close_old_connections
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pacs.dimse.acceptor import ServedAssociation
from pacs.dimse.backlog import BACKLOG, Unfiled
from pacs.dimse.message import CommandField, Status
from pacs.dimse.services import Answer, Operation, Request, Service
from pacs.dimse.spares import Spares
from pacs.dimse.syntaxes import STORAGE_TRANSFER_SYNTAXES
from pacs.dimse.trail import record_all
from pacs.models import ApplicationEntity, NodePriority
from pacs.services.filing import acknowledge, may_wait, note_of
from pacs.services.storage_classes import is_storage
from pacs.services.store import Incoming, Received, Source, StoreOutcome, receive, store_instance
from pacs.storage import CurrentVolume
from radiology.dicom import is_uid
from radiology.errors import DataSetMismatch
from radiology.models import AuditAction

MOST_AUDITED_STUDIES = 1000
SETTLE_SECONDS = 5.0
RECEIVED = "received"


class StorageClasses:
    """All of them, as a container: those that DICOM defines and those that it does not."""

    def __contains__(self, sop_class_uid: object) -> bool:
        return isinstance(sop_class_uid, str) and is_storage(sop_class_uid)


def choose_storage_syntax(node: ApplicationEntity, proposed: Sequence[str], peer_provides: bool) -> str | None:
    """The transfer syntax in which objects pass over a context; None when there is none.

    From a sender: the first that it proposes and may use. Senders put first what they hold, and any
    other choice makes them convert, with loss perhaps; big endian, which is retired, comes last.
    To a receiver (C-GET): Explicit VR Little Endian if it is proposed, since every stored object can be
    opened to it, whereas nothing is compressed on the way out.
    """
    usable = [syntax for syntax in proposed if syntax in STORAGE_TRANSFER_SYNTAXES]
    if peer_provides:
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
            if syntax in usable:
                return syntax
    elif node.transfer_syntaxes:
        usable = [syntax for syntax in usable if syntax in node.transfer_syntaxes]
    return next((syntax for syntax in usable if syntax != ExplicitVRBigEndian), usable[0] if usable else None)


def store(request: Request) -> Iterator[Answer]:
    """PS3.4 B.2.3. Success is said when the object is durable, and findable or about to be.

    The first of an association is filed before the answer: that shows that it can be done. Those that follow
    are filed by the filer, as long as it is not behind and Success is the only answer there can be.
    """
    sop_instance_uid = request.command.get("AffectedSOPInstanceUID", "")
    if not is_uid(sop_instance_uid):
        raise DataSetMismatch("The Affected SOP Instance UID is no UID.")
    volume = request.association.state.setdefault("volume", CurrentVolume())()
    spares: Spares = request.association.state.setdefault("spares", Spares())
    with receive(
        source=_source(request.association),
        transfer_syntax_uid=request.context.transfer_syntax,
        sop_class_uid=request.context.abstract_syntax,
        sop_instance_uid=sop_instance_uid,
        volume=volume,
        draft=spares.take(volume),
    ) as incoming:
        if request.node.priority == NodePriority.BULK:
            close_old_connections()  # however many of them send slowly, the others find one
        for fragment in request.fragments():
            incoming.write(fragment)
        note = note_of(incoming.source) if _may_be_first(request.association, incoming) else ""
        received = incoming.finish(note=note)
        if note:
            path = acknowledge(received)
            try:
                yield Answer(Status.SUCCESS)
            finally:  # whether it heard the answer or not
                _add(request.association, received, path)
            spares.prepare(volume)
            return
        stored = store_instance(received=received)
    _tally(request.association, received.study_instance_uid, stored.outcome.value)
    if stored.outcome is StoreOutcome.REFUSED:
        yield Answer(Status.CANNOT_UNDERSTAND, fields={"ErrorComment": stored.reason})
    elif stored.outcome is StoreOutcome.HELD:
        yield Answer(Status.SUCCESS, fields={"ErrorComment": f"Held for review: {stored.reason}"})
    else:
        yield Answer(Status.SUCCESS)


def settle(association: ServedAssociation) -> None:
    """Wait until what the association brought is filed: what it asks next, or who asks after it, shall find it."""
    unfiled: Unfiled | None = association.state.get("unfiled")
    if unfiled is not None and not unfiled.is_empty():
        BACKLOG.hurry()
        unfiled.wait(seconds=SETTLE_SECONDS)


def end(association: ServedAssociation) -> None:
    """The peer releases, or is gone."""
    spares: Spares | None = association.state.get("spares")
    if spares is not None:
        spares.discard()
    if association.state.get("unfiled") is not None:
        BACKLOG.hurry()  # it files while the trail is written
    audit_studies(association)
    settle(association)


def audit_studies(association: ServedAssociation) -> None:
    """One event for each study that the association brought, with what became of its objects.

    Of those that were acknowledged before they were filed it says "received".
    """
    studies: dict[str, Counter[str]] = association.state.get("stored", {})
    record_all(
        association,
        [
            {
                "event": "dicom.store",
                "action": AuditAction.CREATE,
                "study_instance_uid": study_instance_uid,
                "detail": {"instances": dict(outcomes)},
            }
            for study_instance_uid, outcomes in studies.items()
        ],
    )


def _source(association: ServedAssociation) -> Source:
    source: Source | None = association.state.get("source")
    if source is None:
        source = association.state["source"] = Source.of_node(association.node)
    return source


def _may_be_first(association: ServedAssociation, incoming: Incoming) -> bool:
    return bool(association.state.get("stored")) and may_wait(incoming) and BACKLOG.has_room()


def _add(association: ServedAssociation, received: Received, path: str) -> None:
    association.state.setdefault("unfiled", Unfiled()).add(path)
    BACKLOG.add(path)
    _tally(association, received.study_instance_uid, RECEIVED)


def _tally(association: ServedAssociation, study_instance_uid: str, outcome: str) -> None:
    studies = association.state.setdefault("stored", {})
    if study_instance_uid not in studies and len(studies) >= MOST_AUDITED_STUDIES:
        audit_studies(association)
        studies.clear()
    studies.setdefault(study_instance_uid, Counter())[outcome] += 1


SERVICES = [
    Service(
        sop_classes=StorageClasses(),
        operations={CommandField.C_STORE_RQ: Operation(store, right="may_store")},
        choose_syntax=choose_storage_syntax,
        peer_may_provide=True,
        before_others=settle,
        at_end=end,
    ),
]
