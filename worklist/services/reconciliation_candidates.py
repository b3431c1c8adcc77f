"""Which requested procedures a study may belong to: found by indexed questions, weighed, the best first.

Every weight stands here. Identity is what a device copies from one line of its worklist or what somebody
typed; it counts for less when it is in doubt: when the images contradict what that line ordered, and
somebody else was waiting at that very device.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Prefetch
from django.utils.translation import gettext_lazy as _

from pacs.models import Study
from radiology.dicom import PersonName
from radiology.models import (
    Order,
    OrderOrigin,
    OrderStatus,
    Patient,
    PatientIdentifier,
    PatientNameWord,
    RequestedProcedure,
)
from worklist.models import ScheduledProcedureStep, StepStatus
from worklist.services.reconciliation_facts import StudyFacts
from worklist.services.resemblance import (
    date_likeness,
    edit_distance,
    modality_fits,
    name_likeness,
    regions,
    words,
)

SHOWN = 6
OF_ONE_QUESTION = 40
SAME_DAY = timedelta(hours=20)
AT_THE_SAME_TIME = timedelta(hours=3)
A_MOMENT = timedelta(minutes=5)
# What identity still counts for when it is in doubt.
IN_DOUBT = 0.05
NAMES_MATCH, BIRTHS_MATCH = 0.7, 0.5
PRESENT = {StepStatus.ARRIVED, StepStatus.READY, StepStatus.STARTED}
CALLED_OFF = {StepStatus.CANCELLED, StepStatus.NO_SHOW}


class Evidence(models.TextChoices):
    """What may agree or differ between a study and a requested procedure."""

    ACCESSION = "accession", _("accession number")
    ACCESSION_LIKE = "accession_like", _("accession number but for a typing error")
    STUDY_UID = "study_uid", _("Study Instance UID")
    REQUEST = "request", _("request attributes")
    PERFORMED = "performed", _("what the device reported")
    PATIENT_ID = "patient_id", _("MRN")
    NAME = "name", _("name")
    BIRTH_DATE = "birth_date", _("birth date")
    SEX = "sex", _("sex")
    TIME = "time", _("time")
    MODALITY = "modality", _("modality")
    BODY_PART = "body_part", _("body part")
    LATERALITY = "laterality", _("side")
    DESCRIPTION = "description", _("description")
    STATION = "station", _("device")
    PRESENT = "present", _("patient arrived")
    CALLED_OFF = "called_off", _("called off")
    SERVED = "served", _("has images already")


# By what evidence a study names its order, each enough by itself when nothing contradicts.
NAMES_IT = frozenset({Evidence.ACCESSION, Evidence.STUDY_UID, Evidence.REQUEST, Evidence.PERFORMED})


@dataclass
class Candidate:
    """A requested procedure, and what speaks for and against it."""

    procedure: RequestedProcedure
    steps: list[ScheduledProcedureStep]
    served: bool
    identity: float = 0.0
    circumstances: float = 0.0
    score: float = 0.0
    agrees: list[Evidence] = field(default_factory=list)
    differs: list[Evidence] = field(default_factory=list)

    @property
    def order(self) -> Order:
        return self.procedure.order_ref

    @property
    def named(self) -> bool:
        """Whether the images, or the device, name this very order."""
        return not NAMES_IT.isdisjoint(self.agrees)

    @property
    def is_called_off(self) -> bool:
        return Evidence.CALLED_OFF in self.differs

    @property
    def is_present(self) -> bool:
        return Evidence.PRESENT in self.agrees

    def entry(self) -> dict[str, Any]:
        """As a case keeps it."""
        return {
            "procedure": self.procedure.pk,
            "score": round(self.score),
            "agrees": [str(each) for each in self.agrees],
            "differs": [str(each) for each in self.differs],
        }


def candidates_of(facts: StudyFacts) -> list[Candidate]:
    """The candidates for a study, the best first, among them all that it names. A fixed number of queries."""
    found = [_weighed(facts, candidate) for candidate in _rows(facts, _keys(facts))]
    doubtful = is_doubtful(facts, found)
    for each in found:
        each.score = each.identity * (IN_DOUBT if doubtful else 1) + each.circumstances
    return sorted(found, key=lambda each: (-each.score, each.procedure.pk))


def is_doubtful(facts: StudyFacts, found: Sequence[Candidate]) -> bool:
    """Whether what the images name is contradicted, while somebody else was waiting for just such images.

    Contradicted by the images themselves; or since that patient has not come, and was not due yet.
    """
    wrong = {Evidence.BODY_PART, Evidence.MODALITY, Evidence.LATERALITY, Evidence.CALLED_OFF, Evidence.SERVED}
    for named in (each for each in found if each.named and not _has_begun(each)):
        contradicted = not wrong.isdisjoint(named.differs)
        for other in found:
            if other.order.pk == named.order.pk or not _waits_there(facts, other):
                continue
            sooner = _nearest(facts, other) + A_MOMENT < _nearest(facts, named)
            if contradicted or (sooner and not named.is_present):
                return True
    return False


def somebody_else(facts: StudyFacts, named: Candidate, found: Iterable[Candidate]) -> bool:
    """Whether another patient waits at this device, and that of the procedure named is not known to have come."""
    if named.is_present or _has_begun(named):
        return False
    patient = named.order.patient_ref_id
    return any(_waits_there(facts, each) and each.order.patient_ref_id != patient for each in found)


def _waits_there(facts: StudyFacts, each: Candidate) -> bool:
    """Whether this procedure's patient has come, to this device, for images of this kind, and has none yet."""
    return (
        each.is_present
        and not each.served
        and Evidence.MODALITY in each.agrees
        and not {Evidence.BODY_PART, Evidence.LATERALITY} & set(each.differs)
        and (Evidence.STATION in each.agrees or not facts.stations)
        and any(apart(facts.moment, step) <= AT_THE_SAME_TIME for step in each.steps if _state(step) in PRESENT)
    )


def _has_begun(named: Candidate) -> bool:
    return any(_state(step) in {StepStatus.STARTED, StepStatus.COMPLETED} for step in named.steps) and not named.served


def _state(step: ScheduledProcedureStep) -> str:
    """What people or devices said of a step. What was inferred from these very images is no evidence for them."""
    return StepStatus.SCHEDULED if step.is_inferred else step.status


def apart(moment: datetime, step: ScheduledProcedureStep) -> timedelta:
    """How far a moment is from when a step was scheduled, or happened."""
    happened = [] if step.is_inferred else [step.started_at, step.arrived_at]
    known = [each for each in (step.scheduled_start, *happened) if each is not None]
    return min((abs(moment - each) for each in known), default=timedelta.max)


def _nearest(facts: StudyFacts, each: Candidate) -> timedelta:
    return min((apart(facts.moment, step) for step in each.steps), default=timedelta.max - A_MOMENT)


def _keys(facts: StudyFacts) -> set[int]:
    """The keys of all requested procedures worth weighing."""
    site = facts.study.site_id
    procedures = RequestedProcedure.objects.filter(order_ref__site=site)
    orders = Order.objects.filter(site=site)
    keys = set(facts.performed_for)
    if facts.accession_numbers:
        named = orders.filter(accession_number__in=facts.accession_numbers)
        keys |= set(procedures.filter(order_ref__in=named).values_list("pk", flat=True)[:OF_ONE_QUESTION])
    uids = procedures.filter(study_instance_uid__in=facts.study_instance_uids)
    keys |= set(uids.values_list("pk", flat=True)[:OF_ONE_QUESTION])
    steps = ScheduledProcedureStep.objects.filter(site=site)
    if facts.step_ids:
        known = steps.filter(scheduled_procedure_step_id__in=facts.step_ids)
        keys |= set(known.values_list("requested_procedure_ref", flat=True)[:OF_ONE_QUESTION])
    of_patients = procedures.filter(order_ref__patient_ref__in=_patients(facts)).order_by("-pk")
    keys |= set(of_patients.values_list("pk", flat=True)[:OF_ONE_QUESTION])
    for question in (
        steps.filter(scheduled_start__lte=facts.moment).order_by("-scheduled_start", "-pk"),
        steps.filter(scheduled_start__gt=facts.moment).order_by("scheduled_start", "pk"),
    ):
        keys |= set(question.values_list("requested_procedure_ref", flat=True)[:OF_ONE_QUESTION])
    newest = orders.filter(status=OrderStatus.ACTIVE).order_by("-pk").values_list("pk", flat=True)[:OF_ONE_QUESTION]
    keys |= set(procedures.filter(order_ref__in=list(newest)).values_list("pk", flat=True)[:OF_ONE_QUESTION])
    return keys


def _patients(facts: StudyFacts) -> set[int]:
    """Who may be meant: by number, by another number, or by a word of the name and the birth date."""
    known = Patient.objects.filter(site=facts.study.site_id)
    found = {facts.patient.pk}
    person = facts.person
    if person.patient_id:
        found |= set(known.filter(patient_id=person.patient_id).values_list("pk", flat=True)[:OF_ONE_QUESTION])
        others = PatientIdentifier.objects.filter(value=person.patient_id, patient_ref__site=facts.study.site_id)
        found |= set(others.values_list("patient_ref", flat=True)[:OF_ONE_QUESTION])
    if person.birth_date:
        named = PatientNameWord.objects.filter(word__in=[word[:64] for word in PersonName(person.name).words])
        born = known.filter(patient_birth_date=person.birth_date)
        both = born.filter(pk__in=named.values("patient_ref"))
        found |= set(both.order_by("-pk").values_list("pk", flat=True)[:OF_ONE_QUESTION])
        found |= set(born.order_by("-pk").values_list("pk", flat=True)[:OF_ONE_QUESTION])
    return found


def _rows(facts: StudyFacts, keys: Iterable[int]) -> list[Candidate]:
    """The procedures with order, patient and steps; what was entered in error or is a draft is none."""
    steps = ScheduledProcedureStep.objects.select_related("device__node").order_by("pk")
    rows = (
        RequestedProcedure.objects.filter(pk__in=keys)
        .exclude(order_ref__status__in=[OrderStatus.ENTERED_IN_ERROR, OrderStatus.DRAFT])
        .select_related("order_ref__patient_ref")
        .prefetch_related(Prefetch("scheduled_procedure_steps", steps))
    )
    served = set(
        Study.objects.filter(requested_procedure_ref__in=keys, deleted_at=None)
        .exclude(pk=facts.study.pk)
        .values_list("requested_procedure_ref", flat=True)
    )
    return [Candidate(row, list(row.scheduled_procedure_steps.all()), row.pk in served) for row in rows]


def _weighed(facts: StudyFacts, each: Candidate) -> Candidate:
    each.identity = _orders_weight(facts, each) + _patients_weight(facts, each)
    each.circumstances = _matter_weight(facts, each) + _time_weight(facts, each) + _state_weight(each)
    return each


def _say(each: Candidate, evidence: Evidence, agrees: bool, weight: float) -> float:
    (each.agrees if agrees else each.differs).append(evidence)
    return weight


def _orders_weight(facts: StudyFacts, each: Candidate) -> float:
    """Accession number, Study Instance UID, Request Attributes Sequence, MPPS."""
    weight = 0.0
    number = each.order.accession_number
    issuers = {facts.study.issuer_of_accession_number, each.order.issuer_of_accession_number} - {""}
    if number and number in facts.accession_numbers and len(issuers) < 2:
        weight += _say(each, Evidence.ACCESSION, True, 45)
    elif number and facts.accession_numbers:
        nearest = min(_numbers_apart(number, given) for given in facts.accession_numbers)
        if nearest <= 2:
            weight += _say(each, Evidence.ACCESSION_LIKE, True, {0: 28, 1: 25, 2: 12}[nearest])
        else:
            weight += _say(each, Evidence.ACCESSION, False, -8)
    if each.procedure.study_instance_uid in facts.study_instance_uids:
        weight += _say(each, Evidence.STUDY_UID, True, 45)
    steps = {step.scheduled_procedure_step_id for step in each.steps}
    by_procedure = each.procedure.requested_procedure_id in facts.procedure_ids and (
        Evidence.ACCESSION in each.agrees or each.order.patient_ref_id == facts.patient.pk
    )
    if by_procedure or steps & facts.step_ids:
        weight += _say(each, Evidence.REQUEST, True, 40)
    if each.procedure.pk in facts.performed_for:
        weight += _say(each, Evidence.PERFORMED, True, 35)
    return weight


def _numbers_apart(one: str, other: str) -> int:
    """How many typing errors lie between two accession numbers; 0 when only zeros or punctuation do."""
    plain = [number.strip("0 ").replace("-", "").replace("/", "").replace(".", "") for number in (one, other)]
    if plain[0] == plain[1]:
        return 0
    if min(map(len, plain)) >= 5 and (plain[0] in plain[1] or plain[1] in plain[0]):
        return 1 if abs(len(plain[0]) - len(plain[1])) < 3 else 2
    distance = edit_distance(one, other)
    # Short numbers, and those that count up, are near each other by themselves.
    return distance if len(one) >= 6 else distance + 1


def _patients_weight(facts: StudyFacts, each: Candidate) -> float:
    patient, person = each.order.patient_ref, facts.person
    weight = 0.0
    if person.patient_id and patient.patient_id:
        if patient.patient_id == person.patient_id or patient.pk == facts.patient.pk:
            weight += _say(each, Evidence.PATIENT_ID, True, 18)
        elif len(patient.patient_id) >= 4 and edit_distance(patient.patient_id, person.patient_id) == 1:
            weight += _say(each, Evidence.PATIENT_ID, False, 6)
        else:
            weight += _say(each, Evidence.PATIENT_ID, False, -6)
    name = name_likeness(person.name, patient.patient_name)
    if person.name and patient.patient_name:
        if name >= NAMES_MATCH:
            weight += _say(each, Evidence.NAME, True, 14 * name)
        else:
            weight += _say(each, Evidence.NAME, False, 4 * name - 10 if name < 0.4 else 0)
    born = date_likeness(person.birth_date, patient.patient_birth_date)
    if person.birth_date and patient.patient_birth_date:
        if born == 1:
            weight += _say(each, Evidence.BIRTH_DATE, True, 12)
        else:
            weight += _say(each, Evidence.BIRTH_DATE, False, 5 if born else -8)
    if person.sex and patient.patient_sex:
        same = person.sex == patient.patient_sex
        weight += _say(each, Evidence.SEX, same, 1 if same else -6)
    return weight


def _matter_weight(facts: StudyFacts, each: Candidate) -> float:
    """Modality, body part, side, description, device."""
    procedure, weight = each.procedure, 0.0
    fits = modality_fits(procedure.modality, facts.modalities)
    if fits is not None:
        weight += _say(each, Evidence.MODALITY, fits, 10 if fits else -25)
    ordered = regions(procedure.body_part_examined) | regions(procedure.requested_procedure_description)
    if ordered and facts.regions:
        same = bool(ordered & facts.regions)
        weight += _say(each, Evidence.BODY_PART, same, 8 if same else -14)
    if facts.laterality in {"L", "R"} and procedure.laterality in {"L", "R"}:
        same = facts.laterality == procedure.laterality
        weight += _say(each, Evidence.LATERALITY, same, 3 if same else -12)
    described = words(procedure.requested_procedure_description)
    if described and facts.words:
        shared = len(described & facts.words) / len(described)
        weight += _say(each, Evidence.DESCRIPTION, True, 8 * shared) if shared >= 0.5 else 8 * shared
    titles = {
        title for step in each.steps for title in (*step.scheduled_station_ae_titles, step.scheduled_station_name)
    }
    titles |= {step.device.node.title for step in each.steps if step.device and step.device.node}
    titles -= {""}
    if titles and facts.stations:
        same = bool(titles & facts.stations)
        weight += _say(each, Evidence.STATION, same, 8 if same else -3)
    return weight


def _time_weight(facts: StudyFacts, each: Candidate) -> float:
    near = min((apart(facts.moment, step) for step in each.steps), default=timedelta.max)
    if near == timedelta.max:  # not on a calendar: when it was wanted, else placed
        near = abs(facts.moment - (each.order.requested_start or each.order.created_at)) + timedelta(hours=2)
    hours = near / timedelta(hours=1)
    for limit, weight in ((0.5, 12), (2, 9), (6, 6), (20, 3), (48, -2), (168, -10)):
        if hours <= limit:
            return _say(each, Evidence.TIME, limit <= 20, weight)
    return _say(each, Evidence.TIME, False, -30)


def _state_weight(each: Candidate) -> float:
    weight = 0.0
    states = {_state(step) for step in each.steps}
    if states & PRESENT:
        weight += _say(each, Evidence.PRESENT, True, 8)
    off = each.order.status == OrderStatus.REVOKED or (bool(states) and states <= CALLED_OFF)
    if off:
        weight += _say(each, Evidence.CALLED_OFF, False, -12)
    if each.served:
        weight += _say(each, Evidence.SERVED, False, -20)
    if each.order.origin == OrderOrigin.IMAGES:
        weight -= 80  # made for what a device did: an order that somebody placed goes before it
    return weight
