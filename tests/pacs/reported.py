"""Examinations with images, reports of them, and what these became in the archive."""

import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from pacs import tasks  # noqa: F401  (registers the handlers)
from pacs.models import Instance, Study
from pacs.services import report_objects
from pacs.services.outgoing import part10_blocks
from pacs.services.store import Source, receive_part10, store_instance
from radiology.models import Job, JobState, Order, Patient, Report, ReportStatus, RequestedProcedure, Site, User
from radiology.services import jobs
from radiology.services.reports import add_addendum, sign_report, write_draft
from tests.factories import make_order, make_patient, make_requested_procedure
from tests.pacs.objects import ct, part10

TEXT = {
    "indication": "Sesak napas — “3 hari”",
    "technique": "CT toraks tanpa kontras, irisan 5 mm.",
    "comparison": "Foto toraks 1 Maret 2026.",
    "findings": "Cor: CTR ± 48 %.\nPulmo: nodul Ø 8 mm di lobus superior kanan.",
    "impression": "Nodul paru kanan; sarankan CT ulang ≤ 3 bulan.",
}
KINDS = (report_objects.STORE, report_objects.FOLLOW, report_objects.STORE_PDF)


def ordered(patient: Patient | None = None, *, number: str = "1") -> RequestedProcedure:
    """A procedure that was ordered, with all its numbers."""
    patient = patient or make_patient("MRN-1001", "SANTOSO^BUDI")
    order: Order = make_order(
        patient, accession_number=f"ACC{number}", placer_order_number="PL-7", filler_order_number="FI-7"
    )
    return make_requested_procedure(order, requested_procedure_id=f"RP{number}")


def image_of(procedure: RequestedProcedure, **attributes: Any) -> Dataset:
    """An image that a device made of it."""
    order = procedure.order_ref
    patient = order.patient_ref
    now = timezone.localtime(timezone.now(), ZoneInfo(order.site.time_zone))
    return ct(
        **{
            "StudyInstanceUID": procedure.study_instance_uid,
            "AccessionNumber": order.accession_number,
            "PatientID": patient.patient_id,
            "PatientName": patient.patient_name,
            "PatientBirthDate": patient.patient_birth_date,
            "StudyDate": f"{now:%Y%m%d}",
            "StudyTime": f"{now:%H%M%S}",
            "StudyID": "77",
            "StudyDescription": "CT Thorax",
            **attributes,
        }
    )


def keep(*files: Dataset, site: Site | None = None) -> None:
    """Store them as a device does."""
    for each in files:
        with receive_part10(source=Source.of_site(site or Site.objects.default(), "CT1")) as incoming:
            incoming.write(part10(each))
            store_instance(received=incoming.finish())


def imaged(procedure: RequestedProcedure | None = None, *, count: int = 2, **attributes: Any) -> Study:
    """A study of a procedure, linked to it."""
    procedure = procedure or ordered()
    series = generate_uid()
    images = [
        image_of(procedure, SeriesInstanceUID=series, InstanceNumber=number, **attributes)
        for number in range(1, count + 1)
    ]
    keep(*images, site=procedure.order_ref.site)
    study = Study.objects.get(study_instance_uid=procedure.study_instance_uid)
    Study.objects.filter(pk=study.pk).update(requested_procedure_ref=procedure)
    study.refresh_from_db()
    return study


def written(
    procedure: RequestedProcedure, who: User, status: ReportStatus = ReportStatus.FINAL, **texts: str
) -> Report:
    """A report, signed."""
    report = write_draft(procedure=procedure, sections=texts or TEXT, who=who)
    sign_report(report=report, version=report.version, status=status, who=who)
    report.refresh_from_db()
    return report


def through_all(procedure: RequestedProcedure, who: User) -> Report:
    """A report that was preliminary, final, amended and added to, each version stored."""
    report = written(procedure, who, ReportStatus.PRELIMINARY)
    work()
    for step in ("final", "amended", "appended"):
        report.refresh_from_db()
        if step == "final":
            sign_report(report=report, version=report.version, who=who)
        elif step == "amended":
            report = write_draft(
                procedure=procedure, sections={**TEXT, "impression": "Nodul kiri."}, version=report.version, who=who
            )
            sign_report(report=report, version=report.version, reason="Sisi tertukar", who=who)
        else:
            add_addendum(report=report, version=report.version, text="Ditelepon ke dr. Sari.", who=who)
        work()
    report.refresh_from_db()
    return report


def work(*more: str) -> None:
    """Run what is due of reports, and nothing of other kinds."""
    Job.objects.filter(state=JobState.PENDING).exclude(kind__in=[*KINDS, *more]).update(state=JobState.DONE)
    jobs.run_due()


def files_of(study: Study, modality: str) -> list[bytes]:
    """The Part 10 files, as they leave, that a study shows of one modality; the oldest version first."""
    shown = Instance.objects.filter(series_ref__study_ref=study, series_ref__modality=modality, removed_at=None)
    found = []
    for instance in shown.order_by("instance_number", "pk"):
        found.append(b"".join(part10_blocks(location=_location(instance))))
    return found


def objects_of(study: Study, modality: str) -> list[Dataset]:
    return [dcmread(BytesIO(file)) for file in files_of(study, modality)]


def _location(instance: Instance) -> Any:
    found = instance.locations.filter(is_current=True)
    return found.select_related("instance_ref__series_ref__study_ref", "volume").get()


def errors_of(program: str, file: bytes, folder: Path) -> list[str]:
    """What `dciodvfy` calls errors in an object."""
    path = folder / "checked.dcm"
    path.write_bytes(file)
    done = subprocess.run([program, str(path)], check=False, capture_output=True, text=True, errors="replace")
    said = (done.stdout + done.stderr).splitlines()
    assert said, "dciodvfy said nothing"
    return [line for line in said if line.startswith("Error")]


def tree_of(program: str, file: bytes, folder: Path) -> str:
    """What `dsrdump` reads in a structured report, in UTF-8."""
    path = folder / "read.dcm"
    path.write_bytes(file)
    done = subprocess.run([program, "+U8", "+Pl", str(path)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
