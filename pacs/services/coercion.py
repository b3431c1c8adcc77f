"""Which corrected attributes a study or series lays over its objects (see pacs.services.overlay)."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import F
from django.utils import timezone

from pacs.models import Instance, Series, Study
from pacs.services.answer_text import element
from pacs.services.attributes import BY_KEYWORD
from pacs.signals import studies_changed
from radiology.models import Patient
from radiology.services.rows import Sought

PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
ISSUER = "00100021"
# Why a study is hidden of which all objects were removed.
EMPTY = "empty"
STUDY = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "StudyID")
# What an object says besides of the person that it was filed under by mistake (PS3.3 C.7.1.1, C.7.2.2).
OF_THE_OTHER_PERSON = (
    0x00100022, 0x00100024, 0x00100032, 0x00101000, 0x00101001, 0x00101002, 0x00101005, 0x00101010, 0x00101040,
    0x00101060, 0x00102000, 0x00102110, 0x00102154, 0x00102160, 0x001021C0, 0x001021F0, 0x00104000, 0x00380010,
    0x00380500,
)  # fmt: skip

Attributes = dict[str, dict[str, Any] | None]


def of_row(keyword: str, row: Patient | Study | Series) -> tuple[str, dict[str, Any]]:
    """One attribute, by tag, as the row of its level has it."""
    each = BY_KEYWORD[keyword]
    return each.tag, element(each.vr, getattr(row, each.column))


def of_patient(patient: Patient) -> Attributes:
    """The whole patient module, for objects that came under somebody else's name."""
    attributes: Attributes = dict(of_row(keyword, patient) for keyword in PATIENT)
    return attributes | {f"{tag:08X}": None for tag in OF_THE_OTHER_PERSON}


def of_person(patient: Patient) -> Attributes:
    """Who it is, for objects that came under another number or name of the same person."""
    return dict(of_row(keyword, patient) for keyword in PATIENT)


def of_study(study: Study) -> Attributes:
    """What the objects of a series that was moved into `study` must say to belong there."""
    attributes: Attributes = dict(of_row(keyword, study) for keyword in STUDY)
    attributes["0020000D"] = {"vr": "UI", "Value": [study.study_instance_uid]}
    return attributes | of_patient(study.patient_ref)


def with_attributes(overlay: Mapping[str, Any], attributes: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    """A stored overlay that lays `attributes` over as well, as of now."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return {"at": at, "attributes": {**overlay.get("attributes", {}), **attributes}}


_STUDIES = Sought(Study, "patient_ref_id = %s LIMIT 1", fields=["id"])


def lay_patient_over(patient: Patient) -> None:
    """Let all objects of a patient say what the patient's row says, where they came with other words."""
    if not _STUDIES(patient.pk):
        return
    studies = list(Study.objects.select_for_update().filter(patient_ref=patient).order_by("pk"))
    now = dict(of_row(keyword, patient) for keyword in PATIENT)
    for study in studies:
        laid = study.overlay.get("attributes", {})
        attributes = {
            tag: each
            for tag, each in now.items()
            if tag in laid or (each.get("Value") != study.attributes.get(tag, {}).get("Value"))
        }
        # An issuer that our configuration added says nothing new.
        if ISSUER in attributes and ISSUER not in laid and ISSUER not in study.attributes:
            del attributes[ISSUER]
        if any(laid.get(tag, {}) != each for tag, each in attributes.items()):
            study.overlay = with_attributes(study.overlay, attributes)
            study.save(update_fields=["overlay"])
    moved = Series.objects.filter(study_ref__patient_ref=patient).exclude(received_study_instance_uid="")
    for series in moved.select_for_update().order_by("pk"):
        series.overlay = with_attributes(series.overlay, dict(now))
        series.save(update_fields=["overlay"])
    show_anew(*(study.pk for study in studies))


def lay_person_over(study: Study) -> None:
    """Let all objects of a study, which is locked, say who its patient is."""
    attributes = of_person(study.patient_ref)
    laid = study.overlay.get("attributes", {})
    if any(laid.get(tag) != each for tag, each in attributes.items()):
        study.overlay = with_attributes(study.overlay, attributes)
        study.save(update_fields=["overlay"])
        show_anew(study.pk)


def lock_studies(studies: Iterable[int]) -> None:
    """Hold these studies, and whoever stores or corrects in them, until the transaction ends."""
    rows = Study.objects.select_for_update(no_key=True).filter(pk__in=set(studies)).order_by("pk")
    list(rows.values_list("pk", flat=True))


def show_anew(*studies: int) -> None:
    """Raise the versions of studies and of their series, on which pages, lists and prepared metadata depend."""
    now = timezone.now()
    Study.objects.filter(pk__in=studies).update(version=F("version") + 1, updated_at=now)
    Series.objects.filter(study_ref__in=studies).update(version=F("version") + 1, updated_at=now)
    if studies:
        studies_changed.send(sender=Study, studies=sorted(studies))


def recount(*, series: Iterable[int] = (), studies: Iterable[int] = ()) -> None:
    """Count again what of these series and studies is shown: after objects were hidden, shown or moved.

    A series of which nothing is left is hidden; so is a study, until something comes back. Studies are
    locked before their series, in the order of their keys, as storing does.
    """
    now = timezone.now()
    studies = set(studies)
    lock_studies(studies)
    for pk in sorted(set(series)):
        shown = Instance.objects.filter(series_ref=pk, removed_at=None)
        sizes = shown.filter(locations__is_current=True).values_list("locations__size", flat=True)
        count = shown.count()
        Series.objects.filter(pk=pk).update(
            number_of_series_related_instances=count, size=sum(sizes), removed_at=None if count else now
        )
    for pk in sorted(studies):
        rows = list(
            Series.objects.filter(study_ref=pk, removed_at=None).values_list(
                "number_of_series_related_instances", "size", "modality"
            )
        )
        classes = (
            Instance.objects.filter(series_ref__study_ref=pk, removed_at=None)
            .order_by("sop_class_uid")
            .values_list("sop_class_uid", flat=True)
            .distinct()
        )
        total = sum(count for count, _, _ in rows)
        Study.objects.filter(pk=pk).update(
            number_of_study_related_series=sum(1 for count, _, _ in rows if count),
            number_of_study_related_instances=total,
            size=sum(size for _, size, _ in rows),
            modalities_in_study=sorted({modality for _, _, modality in rows if modality}),
            sop_classes_in_study=list(classes),
        )
        if total:
            Study.objects.filter(pk=pk, deletion_reason=EMPTY).update(deleted_at=None, deletion_reason="")
        else:
            Study.objects.filter(pk=pk, deleted_at=None).update(deleted_at=now, deletion_reason=EMPTY)
    show_anew(*studies)
