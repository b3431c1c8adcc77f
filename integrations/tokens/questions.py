"""What is answered to a hospital system that asks for the tokens of studies, and that it asked."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from integrations.models import Hl7Peer
from pacs.models import Study
from pacs.services.numbers import patient_of_number
from pacs.services.study_tokens import ASKED, Handed, hand_out
from radiology.dicom import clean, is_uid
from radiology.models import AuditAction, AuditEvent
from radiology.services import audit

BEGIN, END = b"\x10", b"\r"
UNKNOWN = BEGIN + END
# Of one patient, the newest first.
MOST_STUDIES = 1000


@dataclass(frozen=True)
class Question:
    """A Study Instance UID or a PatientID, and from where it was asked."""

    key: str
    address: str


@transaction.atomic
def answer_all(questions: Sequence[Question]) -> list[bytes | None]:
    """The answer to each, as it goes out; None where that address may not ask. Every question stands in the audit.

    A key is a Study Instance UID first, then a PatientID; that of a patient gets a list. Studies of which nothing is
    shown have no token.
    """
    peers = list(Hl7Peer.objects.active().filter(may_request_tokens=True).select_related("site").order_by("pk"))
    askers = {address: [peer for peer in peers if peer.admits(address)] for address in {q.address for q in questions}}
    studies = {peer.pk: _studies(peer, [q.key for q in questions if peer in askers[q.address]]) for peer in peers}
    answers: list[bytes | None] = []
    events: list[AuditEvent] = []
    for question in questions:
        allowed = askers[question.address]
        if not allowed:
            answers.append(None)
            events.append(_event(question, None, None))
            continue
        answers.append(_answer(question, allowed, studies, events))
    audit.record_all(events)
    return answers


def _studies(peer: Hl7Peer, keys: list[str]) -> dict[str, Handed]:
    uids = {key for key in keys if is_uid(key)}
    if not uids:
        return {}
    found = hand_out(studies=Study.objects.visible_to(peer).filter(study_instance_uid__in=uids))
    return {each.study_instance_uid: each for each in found}


def _answer(
    question: Question, peers: list[Hl7Peer], studies: dict[int, dict[str, Handed]], events: list[AuditEvent]
) -> bytes:
    """What the first of these peers who knows the key is told."""
    for peer in peers:
        if found := studies[peer.pk].get(question.key):
            events.append(_event(question, peer, found))
            return BEGIN + found.token.encode() + END
    for peer in peers:
        patient = patient_of_number(who=peer, patient_id=question.key, issuer=peer.issuer_of_patient_id)
        if patient is None:
            continue
        newest = Study.objects.visible_to(peer).filter(patient_ref=patient).order_by("-sort_at", "-pk")
        handed = hand_out(studies=newest, most=MOST_STUDIES)
        if handed:
            events.extend(_event(question, peer, each) for each in handed)
            pairs = (each.study_instance_uid.encode() + END + each.token.encode() + END for each in handed)
            return BEGIN + b"".join(pairs) + END
    events.append(_event(question, peers[0], None))
    return UNKNOWN


def _event(question: Question, peer: Hl7Peer | None, handed: Handed | None) -> AuditEvent:
    return audit.event_of(
        event=ASKED,
        action=AuditAction.READ,
        who=peer,
        address=question.address,
        site_id=handed.site if handed else None,
        patient_id=handed.patient if handed else None,
        study_instance_uid=handed.study_instance_uid if handed else "",
        succeeded=handed is not None,
        detail={} if handed else {"key": clean(question.key)[:64]},
    )
