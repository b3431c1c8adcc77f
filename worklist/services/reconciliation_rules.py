"""When a study is linked by itself, and why it is not. The rules in words: docs/reconciliation.md."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from radiology.dicom import fold
from radiology.models import OrderOrigin
from worklist.models import CaseReason
from worklist.services.reconciliation_candidates import (
    BIRTHS_MATCH,
    NAMES_MATCH,
    SAME_DAY,
    Candidate,
    Evidence,
    apart,
    somebody_else,
)
from worklist.services.reconciliation_facts import StudyFacts
from worklist.services.resemblance import date_likeness, name_likeness

# A candidate below this is no reason to ask anybody.
WORTH_ASKING = 30
# How much sooner than its images an order without a time may have been placed, and how much later.
ORDERED_BEFORE, ORDERED_AFTER = 30 * SAME_DAY, 2 * SAME_DAY


@dataclass
class Verdict:
    """What follows from a study's candidates: linked by a rule, a case for a person, or nothing at all."""

    link: Candidate | None = None
    also: list[Candidate] = field(default_factory=list)
    rule: str = ""
    reason: CaseReason | None = None


def verdict_on(facts: StudyFacts, found: Sequence[Candidate], *, expects_orders: bool = False) -> Verdict:
    """Which of the candidates the study belongs to beyond doubt, else why somebody must say."""
    named = [each for each in found if each.named]
    if not named:
        return _without_a_name(facts, found, expects_orders)
    if facts.wrong_entry:
        return Verdict(reason=CaseReason.WRONG_ENTRY)
    if _contradict_each_other(facts, named):
        return Verdict(reason=CaseReason.ORDERS_CONTRADICT)
    targets, rule = _targets(named)
    if rule == "accession":
        targets, reason = _one_of_the_order(facts, targets)
        if reason is not None:
            return Verdict(reason=reason)
    somewhere = any(Evidence.BODY_PART in each.agrees for each in targets)
    for each in targets:
        reason = what_stands_against(facts, each, found, whole_body=somewhere) or _made_for_images(facts, each, found)
        if reason is not None:
            return Verdict(reason=reason)
    first = _foremost(facts, targets)
    return Verdict(link=first, also=[each for each in targets if each is not first], rule=rule)


def what_stands_against(
    facts: StudyFacts, each: Candidate, found: Sequence[Candidate], *, whole_body: bool = False
) -> CaseReason | None:
    """The weightiest reason not to link a study with what it names; None when there is none.

    `whole_body`: another procedure that it names as well is of the part of the body that the images show.
    """
    differs = set(each.differs)
    if not patient_agrees(facts, each):
        return CaseReason.PATIENT_DIFFERS
    if facts.accession_number and Evidence.ACCESSION not in each.agrees:
        return CaseReason.ACCESSION_UNKNOWN
    if Evidence.CALLED_OFF in differs:
        return CaseReason.CALLED_OFF
    if Evidence.MODALITY in differs or not facts.modalities:
        return CaseReason.MODALITY_DIFFERS
    if Evidence.BODY_PART in differs and not whole_body:
        return CaseReason.BODY_PART_DIFFERS
    if Evidence.LATERALITY in differs:
        return CaseReason.LATERALITY_DIFFERS
    if each.served:
        return CaseReason.SERVED_ALREADY
    if somebody_else(facts, each, found):
        return CaseReason.SOMEBODY_ELSE_ARRIVED
    if not _in_time(facts, each):
        return CaseReason.OTHER_TIME
    return None


def _made_for_images(facts: StudyFacts, each: Candidate, found: Sequence[Candidate]) -> CaseReason | None:
    """What stands against an order that was made for what a device did: another one that somebody placed."""
    if each.order.origin != OrderOrigin.IMAGES:
        return None
    placed = [other for other in found if other.order.origin != OrderOrigin.IMAGES and not other.served]
    if not any(other.score >= WORTH_ASKING for other in placed):
        return None
    return CaseReason.ACCESSION_UNKNOWN if facts.accession_number else CaseReason.NO_ACCESSION


def _foremost(facts: StudyFacts, targets: Sequence[Candidate]) -> Candidate:
    """Of several procedures that a study serves, its own: by its UID, else by its accession number."""
    own = [each for each in targets if each.procedure.study_instance_uid == facts.study.study_instance_uid]
    own = own or [each for each in targets if each.order.accession_number == facts.accession_number]
    return (own or list(targets))[0]


def patient_agrees(facts: StudyFacts, each: Candidate) -> bool:
    """The same row, or the same number; and neither name, birth date nor sex that contradicts."""
    patient, person = each.order.patient_ref, facts.person
    same_row = patient.pk == facts.patient.pk and not patient.is_provisional
    if not same_row and (not person.patient_id or patient.patient_id != person.patient_id):
        return False
    if Evidence.SEX in each.differs and person.sex in {"M", "F"} and patient.patient_sex in {"M", "F"}:
        return False
    born = date_likeness(person.birth_date, patient.patient_birth_date)
    if born not in {1.0, BIRTHS_MATCH}:
        return False
    if fold(person.name.replace("^", " ")).strip() and patient.patient_name:
        return name_likeness(person.name, patient.patient_name) >= NAMES_MATCH
    return born == 1.0


def _without_a_name(facts: StudyFacts, found: Sequence[Candidate], expects_orders: bool) -> Verdict:
    if found and found[0].score >= WORTH_ASKING:
        given = facts.accession_numbers
        return Verdict(reason=CaseReason.ACCESSION_UNKNOWN if given else CaseReason.NO_ACCESSION)
    return Verdict(reason=CaseReason.NO_ORDER if expects_orders else None)


def _contradict_each_other(facts: StudyFacts, named: Sequence[Candidate]) -> bool:
    """Whether what the images carry names different orders, where it is not several on purpose."""

    def orders(*evidence: Evidence) -> set[int]:
        return {each.order.pk for each in named if set(evidence) & set(each.agrees)}

    asked = orders(Evidence.REQUEST, Evidence.PERFORMED)
    by_number, by_uid = orders(Evidence.ACCESSION), orders(Evidence.STUDY_UID)
    own = {each.order.pk for each in named if each.order.accession_number == facts.accession_number}
    if own and asked and not own & asked:
        return True
    if by_number and by_uid and not by_uid <= by_number:
        return True
    if asked and by_uid and not by_uid <= asked:
        return True
    patients = {each.order.patient_ref_id for each in named}
    return len(patients) > 1


def _targets(named: Sequence[Candidate]) -> tuple[list[Candidate], str]:
    """What the strongest kind of evidence names, and the rule of that kind."""
    for evidence, rule in (
        (Evidence.REQUEST, "request-attributes"),
        (Evidence.PERFORMED, "performed-step"),
        (Evidence.STUDY_UID, "study-uid"),
    ):
        found = [each for each in named if evidence in each.agrees]
        if found:
            return found, rule
    return list(named), "accession"


def _one_of_the_order(facts: StudyFacts, named: Sequence[Candidate]) -> tuple[list[Candidate], CaseReason | None]:
    """The one procedure of an order that the images can be of; several that fit are somebody's to choose from."""
    if len(named) == 1:
        return list(named), None
    if len({each.order.pk for each in named}) > 1:
        return [], CaseReason.ORDERS_CONTRADICT
    fitting = [each for each in named if Evidence.MODALITY in each.agrees]
    if not fitting:
        return [], CaseReason.MODALITY_DIFFERS
    if len(fitting) > 1:
        fitting = [each for each in fitting if Evidence.LATERALITY not in each.differs]
    if len(fitting) > 1:
        there = [each for each in fitting if Evidence.BODY_PART in each.agrees]
        elsewhere = [each for each in fitting if Evidence.BODY_PART in each.differs]
        fitting = there if len(there) == 1 and len(there) + len(elsewhere) == len(fitting) else fitting
    return (fitting, None) if len(fitting) == 1 else ([], CaseReason.SEVERAL_PROCEDURES)


def _in_time(facts: StudyFacts, each: Candidate) -> bool:
    """Made on the day for which it was scheduled; without a schedule, not long after the order, nor before it."""
    if any(step.scheduled_start for step in each.steps):
        return any(apart(facts.moment, step) <= SAME_DAY for step in each.steps)
    wanted = each.order.requested_start or each.order.created_at
    return wanted - ORDERED_AFTER <= facts.moment <= wanted + ORDERED_BEFORE
