"""What people did with the images: orders that they belong to, a rejection, corrections, a deletion.

Each step looks first whether it was done, so that it may be repeated and what somebody took back stays so.
"""

from datetime import timedelta
from typing import Any

from pacs.demo.labels import Examination
from pacs.demo.shipments import Shipment
from pacs.models import Correction, Instance, Removal, RemovalCode, Study
from pacs.services import corrections, removal
from radiology.models import Order, OrderOrigin, OrderStatus, Patient, Priority, Procedure, RequestedProcedure, Site
from radiology.services.catalogue_csv import import_csv, usual_procedures
from radiology.services.order_procedures import ProcedureRequest
from radiology.services.orders import place_order
from radiology.services.usual_templates import add_usual_templates

# patient and study: priority, clinical question
ORDERED = {
    ("mononym", "ct"): (Priority.ROUTINE, "Nodul paru, evaluasi setahun"),
    ("mononym", "dx"): (Priority.ROUTINE, "Nodul paru, evaluasi"),
    ("unknown", "head"): (Priority.STAT, "Kecelakaan lalu lintas, GCS 9, pupil anisokor"),
    ("lestari", "brain"): (Priority.HIGH, "Kesemutan berulang, curiga multiple sclerosis"),
    ("runner", "knee"): (Priority.ROUTINE, "Cedera saat lari, McMurray positif"),
    ("titles", "breasts"): (Priority.ROUTINE, "Benjolan payudara kiri"),
    ("papuan", "abdomen"): (Priority.HIGH, "Nyeri perut kanan atas, demam"),
    ("heart", "coronaries"): (Priority.STAT, "Angina tidak stabil"),
}
# ordered, and nobody has come yet: patient, study, code of the catalogue, side, what else is said
WAITING: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    ("old", "next", "CTHEAD", "", {"reason_for_the_requested_procedure": "Kontrol perdarahan subdural"}),
    ("boy", "next", "DXTHXPA", "", {"reason_for_the_requested_procedure": "Batuk 2 minggu"}),
    ("papuan", "next", "USABD", "", {"reason_for_the_requested_procedure": "Kontrol batu empedu"}),
    (
        "runner", "next", "DXKNEE", "R",
        {
            "reason_for_the_requested_procedure": "Nyeri lutut setelah jatuh",
            "patient_transport_arrangements": "Kursi roda",
        },
    ),
    (
        "heart", "next", "CTACOR", "",
        {
            "reason_for_the_requested_procedure": "Evaluasi stent LAD", "priority": Priority.HIGH.value,
            "current_patient_location": "ICCU 2", "contrast_allergy": "no", "takes_metformin": "no", "egfr": "68",
        },
    ),
)  # fmt: skip


class Afterwards:
    """Acts as `who`, with the studies of `shipments`."""

    def __init__(self, *, who: Any, site: Site, shipments: list[Shipment]) -> None:
        self.who, self.site = who, site
        self.examinations: dict[tuple[str, str], Examination] = {
            (each.examination.patient.key, each.examination.key): each.examination for each in shipments
        }

    def run(self) -> None:
        for (patient, key), (priority, question) in ORDERED.items():
            self._link(self.examinations[patient, key], priority, question)
        if not Procedure.objects.filter(site=self.site).exists():
            import_csv(site=self.site, text=usual_procedures(), who="demo")
        add_usual_templates(self.site, who="demo")
        for row in WAITING:
            self._await(*row)
        self._reject()
        self._correct()
        self._delete()

    def _study(self, patient: str, key: str) -> Study | None:
        """The study, while it is there to be worked on."""
        uid = self.examinations[patient, key].study_instance_uid
        return Study.objects.visible_to(self.who).filter(study_instance_uid=uid, site=self.site).first()

    def _order(self, patient: Patient, examination: Examination, **values: Any) -> Order:
        return Order.objects.get_or_create(
            site=self.site,
            issuer_of_accession_number="",
            accession_number=examination.accession_number,
            defaults={
                "patient_ref": patient,
                "referring_physician_name": examination.referring_physician,
                "placer_order_number": f"PO-{examination.accession_number}",
                "created_at": examination.at - timedelta(minutes=45),
                **values,
            },
        )[0]

    def _link(self, examination: Examination, priority: Priority, question: str) -> None:
        study = self._study(examination.patient.key, examination.key)
        if study is None or study.requested_procedure_ref is not None:
            return
        order = self._order(
            study.patient_ref,
            examination,
            status=OrderStatus.COMPLETED,
            priority=priority,
            reason_for_the_requested_procedure=question,
        )
        if order.patient_ref_id != study.patient_ref_id:
            return
        modality = next((each for each in study.modalities_in_study if each not in ("SR", "KO", "SEG", "PR")), "")
        procedure, _created = RequestedProcedure.objects.get_or_create(
            study_instance_uid=study.study_instance_uid,
            defaults={
                "order_ref": order,
                "requested_procedure_id": f"RP{examination.accession_number[1:]}",
                "requested_procedure_description": examination.description,
                "modality": modality,
            },
        )
        Study.objects.filter(pk=study.pk, requested_procedure_ref=None).update(requested_procedure_ref=procedure)

    def _await(self, patient: str, key: str, code: str, side: str, values: dict[str, Any]) -> None:
        """An order of a patient whose images came with another study."""
        known = next(each for (name, _), each in self.examinations.items() if name == patient)
        row = Patient.objects.visible_to(self.who).filter(
            site=self.site, patient_id=known.patient.patient_id, provisional_for=""
        ).first()  # fmt: skip
        if row is None:
            return
        wanted = Examination(known.label, known.patient, key, code, known.label.today(1.0), known.referring_physician)
        place_order(
            site=self.site,
            patient=row,
            procedures=[ProcedureRequest(code=code, laterality=side, study_instance_uid=wanted.study_instance_uid)],
            values={
                **values,
                "referring_physician_name": wanted.referring_physician,
                "placer_order_number": f"PO-{wanted.accession_number}",
            },
            who="demo",
            origin=OrderOrigin.DESK,
            client_key=f"demo-{wanted.accession_number}",
            accession_number=wanted.accession_number,
            asks_safety=False,
        )

    def _was_removed(self, study: Study) -> bool:
        return Removal.objects.filter(site=self.site, study_instance_uid=study.study_instance_uid).exists()

    def _reject(self) -> None:
        """The exposure during which the patient moved."""
        study = self._study("second mononym", "chest")
        if study is None or self._was_removed(study):
            return
        uid = self.examinations["second mononym", "chest"].uid("dx", 1, 1)
        blurred = list(Instance.objects.visible_to(self.who).filter(sop_instance_uid=uid, site=self.site))
        if blurred:
            removal.reject(
                who=self.who,
                study=study,
                code=RemovalCode.QUALITY,
                instances=blurred,
                reason="Pasien bergerak, diulang",
            )

    def _correct(self) -> None:
        """A doctor's name and a description that were typed at the console."""
        for patient, key, changes, reason in (
            ("papuan", "ultrasound", {"ReferringPhysicianName": "Siregar^Andi^^dr.^Sp.B"}, "Perujuk salah pilih"),
            ("referred, in the clinic", "hand", {"StudyDescription": "Foto Manus sinistra (dari klinik)"},
             "Foto dari luar"),
        ):  # fmt: skip
            study = self._study(patient, key)
            if study is not None and not Correction.objects.filter(study_ref=study).exists():
                corrections.correct_study(
                    who=self.who, study=study, version=study.version, changes=changes, reason=reason
                )

    def _delete(self) -> None:
        """A study under the wrong person's name; it can be restored."""
        study = self._study("mother", "chest")
        if study is not None and not self._was_removed(study):
            removal.delete_study(who=self.who, study=study, reason="Salah pasien saat registrasi, foto diulang")
