"""Where the objects of one decision go: in place of the first ones, beside them, or apart from them."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from pacs.models import HeldChoice, HeldDecision, HeldObject, HeldReason, Instance, Series, Study
from pacs.services import corrections, held_filing
from pacs.services.coercion import of_person, with_attributes
from pacs.services.header import Header
from pacs.services.held_filing import Filed
from pacs.services.incoming import identity_of
from pacs.services.index import was_corrected_from
from radiology.errors import Conflict
from radiology.models import Patient
from radiology.services.identity import Identity, patient_for_study, same_person, survivor_named
from radiology.services.patients import save_patient

DEMOGRAPHICS = ("patient_name", "patient_birth_date", "patient_sex")


@dataclass(frozen=True)
class CaseKey:
    """What held objects have in common that are decided together; `newest` is the last one that was seen."""

    site_id: int
    reason: HeldReason
    study_instance_uid: str
    source_ae_title: str
    patient_id: str
    newest: int

    @property
    def filter(self) -> dict[str, Any]:
        return {
            "site_id": self.site_id,
            "reason": self.reason,
            "study_instance_uid": self.study_instance_uid,
            "source_ae_title": self.source_ae_title,
            "patient_id": self.patient_id,
        }


class Admission:
    """One decision that lets objects in: where they go."""

    def __init__(
        self, who: Any, case: CaseKey, decision: HeldDecision, held: list[HeldObject], address: str | None
    ) -> None:
        self.who = who
        self.case = case
        self.decision = decision
        self.held = held
        self.address = address
        self.filed = Filed()
        self.extra: dict[str, Any] = {"corrections": [], "patients": {}}
        self.source = held_filing.source_of(held[0])
        self.headers: dict[int, Header] = {each.pk: held_filing.header_of(each) for each in held}

    @property
    def identity(self) -> Identity:
        """What the newest of the objects says of its patient."""
        return identity_of(self.headers[self.held[-1].pk], self.source)

    def replace(self) -> None:
        """The new bytes stand for the instances from now on, where the new ones say they belong."""
        replaced: dict[int, Study] = {}
        known: dict[str, Series] = {}
        for each in self.held:
            instance = (
                Instance.objects.select_for_update(of=("self",))
                .select_related("series_ref__study_ref__patient_ref")
                .filter(site=each.site, sop_instance_uid=each.sop_instance_uid)
                .first()
            )
            if instance is None:
                raise Conflict(_("The first image is gone for good: nothing is left to be replaced."))
            header = self.headers[each.pk]
            into = None
            if self.case.reason == HeldReason.INSTANCE_ELSEWHERE:
                study = self._named_study(each)
                into = held_filing.series_for(
                    held=each, header=header, study=study, filed=self.filed, apart=False, known=known
                )
                self.decision.study_ref = study
            held_filing.replace(held=each, header=header, instance=instance, into=into, filed=self.filed)
            held_filing.follow_first(held=each, header=header, instance=instance, source=self.source, filed=self.filed)
            replaced[instance.series_ref.study_ref_id] = instance.series_ref.study_ref
        if self.case.reason != HeldReason.INSTANCE_ELSEWHERE:
            for study in replaced.values():
                self._follow_patient(study)

    def join(self) -> None:
        """They belong where the first ones are, whatever they say of patient and study."""
        known: dict[str, Series] = {}
        same_study = self.case.reason == HeldReason.STUDY_OF_OTHER_PATIENT
        for each in self.held:
            header = self.headers[each.pk]
            if same_study:
                study = self._first_study()
                series = held_filing.series_for(
                    held=each, header=header, study=study, filed=self.filed, apart=False, known=known
                )
            else:
                found = Series.objects.visible_to(self.who).filter(
                    site=each.site, series_instance_uid=each.series_instance_uid
                )
                there = known.get(each.series_instance_uid) or found.select_related("study_ref__patient_ref").first()
                if there is None:
                    raise Conflict(_("The series that it could join is deleted: restore it, or keep this one apart."))
                known[each.series_instance_uid] = series = there
                study = series.study_ref
            self.decision.study_ref = study
            if (
                held_filing.add(held=each, header=header, series=series, filed=self.filed)
                and str(series.pk) not in self.filed.series
            ):
                held_filing.lay_destination_over(
                    series=series, study=study, whole_study=not same_study, filed=self.filed
                )

    def apart(self) -> None:
        """They are kept apart from the first ones, under UIDs of their own where theirs are taken."""
        known: dict[str, Series] = {}
        study: Study | None = None
        for each in self.held:
            header = self.headers[each.pk]
            if self.case.reason == HeldReason.STUDY_OF_OTHER_PATIENT:
                study = study or self._earlier_study() or self._new_study(each)
            else:
                study = study or self._named_study(each)
            self.decision.study_ref = study
            series = held_filing.series_for(
                held=each, header=header, study=study, filed=self.filed, apart=True, known=known
            )
            held_filing.add(held=each, header=header, series=series, filed=self.filed)

    def _first_study(self) -> Study:
        study = study_of(self.case)
        if study is None or study.deleted_at is not None:
            raise Conflict(_("The study that they could join is deleted: restore it first."))
        return study

    def _named_study(self, held: HeldObject) -> Study:
        """The study that the object names; made when it is not there. It must be the object's patient's."""
        study = study_of(self.case)
        identity = self.identity
        if study is None:
            row = held_filing.study_row(held=held, header=self.headers[held.pk], source=self.source)
            row.study_instance_uid = held.study_instance_uid
            row.patient_ref = patient_for_study(
                site=held.site, identity=identity, study_instance_uid=held.study_instance_uid
            )
            self._lay_survivor_over(row)
            row.save()
            self.filed.made_studies.append(row.pk)
            return row
        if study.deleted_at is not None:
            raise Conflict(_("The study that they name is deleted: restore it first."))
        survivor = survivor_named(site=held.site, identity=identity)
        is_same = same_person(study.patient_ref, identity) or (survivor and survivor.pk == study.patient_ref_id)
        if not is_same and not study.patient_ref.is_provisional:
            raise Conflict(
                _("The study that they name is another patient's: reject them, or correct that study first.")
            )
        return study

    def _earlier_study(self) -> Study | None:
        """The study that an earlier part of the same case was given."""
        earlier = HeldDecision.objects.filter(
            **self.case.filter, choice=HeldChoice.APART, undone_at=None, study_ref__deleted_at=None
        ).exclude(pk=self.decision.pk)
        found = earlier.select_related("study_ref__patient_ref").order_by("-pk").first()
        return found.study_ref if found else None

    def _new_study(self, held: HeldObject) -> Study:
        row = held_filing.study_row(held=held, header=self.headers[held.pk], source=self.source)
        held_filing.give_own_uid(row)
        row.patient_ref = patient_for_study(
            site=held.site, identity=self.identity, study_instance_uid=row.study_instance_uid
        )
        self._lay_survivor_over(row)
        row.save()
        self.filed.made_studies.append(row.pk)
        return row

    def _lay_survivor_over(self, study: Study) -> None:
        """Let objects that name a merged patient leave with the survivor's identity."""
        patient = study.patient_ref
        if not patient.is_provisional and not same_person(patient, self.identity):
            study.overlay = with_attributes(study.overlay, of_person(patient))

    def _follow_patient(self, study: Study) -> None:
        """A corrected header may name the patient otherwise: another one, or the same one better."""
        identity, patient = self.identity, study.patient_ref
        if was_corrected_from(study, identity):
            return
        if same_person(patient, identity):
            if str(study.pk) in self.filed.studies:
                self._follow_demographics(study, identity)
            return
        if not identity.patient_id and patient.is_provisional:
            return
        there = Instance.objects.filter(series_ref__study_ref=study, removed_at=None).count()
        mine = {entry["instance"] for entry in self.filed.objects}
        if not patient.is_provisional and there > len(mine):
            raise Conflict(
                _(
                    "These images name another patient, and %(count)d more of the study do not: "
                    "say on the study's page whose it is, or split it."
                )
                % {"count": there - len(mine)}
            )
        own = patient_for_study(site=study.site, identity=identity, study_instance_uid=study.study_instance_uid)
        if own.pk != patient.pk:
            study.refresh_from_db()
            correction = corrections.assign_patient(
                who=self.who,
                study=study,
                version=study.version,
                patient=own,
                reason=self.decision.why,
                address=self.address,
            )
            self.extra["corrections"].append(str(correction.public_id))

    def _follow_demographics(self, study: Study, identity: Identity) -> None:
        """A patient known from this study alone takes the corrected name, birth date and sex."""
        patient = study.patient_ref
        news = {name: getattr(identity, name) for name in DEMOGRAPHICS if getattr(identity, name)}
        before = {name: getattr(patient, name) for name in news}
        if news == before or Study.objects.filter(patient_ref=patient).exclude(pk=study.pk).exists():
            return
        self.extra["patients"][str(patient.public_id)] = before
        set_demographics(patient, news, who=self.who, reason=self.decision.why, address=self.address)


def set_demographics(
    patient: Patient, values: dict[str, str], *, who: Any, reason: str = "", address: str | None = None
) -> None:
    """Write corrected values to a patient and what follows from them."""
    for name, value in values.items():
        setattr(patient, name, value)
    save_patient(patient=patient, who=who, reason=reason, address=address)


def study_of(case: CaseKey) -> Study | None:
    """The study that the objects name."""
    found = Study.objects.filter(site_id=case.site_id, study_instance_uid=case.study_instance_uid)
    return found.select_related("patient_ref", "site").first()
