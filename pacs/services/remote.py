"""What a person looks for at another archive: their words as C-FIND keys, its answers beside what is here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from pydicom import Dataset
from pydicom.multival import MultiValue

from radiology.dicom import is_uid

RETURNED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
)


@dataclass(frozen=True)
class RemoteCriteria:
    """Dates are days of the other archive, both included."""

    name: str = ""
    patient_id: str = ""
    accession_number: str = ""
    modality: str = ""
    start: date | None = None
    end: date | None = None


@dataclass(frozen=True)
class RemoteStudy:
    """One answer. `images` is what the node says it holds, None when it says nothing."""

    study_instance_uid: str
    patient_name: str
    patient_id: str
    birth_date: str
    sex: str
    study_date: str
    study_time: str
    description: str
    accession_number: str
    modalities: tuple[str, ...]
    images: int | None
    images_here: int = 0

    @property
    def is_here(self) -> bool:
        """Whether as many images are here as the node holds, as far as it says."""
        return self.images_here > 0 and (self.images is None or self.images_here >= self.images)

    @property
    def is_partly_here(self) -> bool:
        return self.images_here > 0 and not self.is_here


def keys_of(criteria: RemoteCriteria) -> dict[str, str]:
    """The keys of a search at study level (PS3.4 C.2.2.2), empty when nothing was asked for.

    Words of a name match in their order, wherever they stand; typed all in small letters they are sent
    in capitals, as most archives keep names and some compare them letter by letter.
    """
    keys = {
        "PatientName": _name(criteria.name),
        "PatientID": criteria.patient_id,
        "AccessionNumber": criteria.accession_number,
        "ModalitiesInStudy": criteria.modality,
        "StudyDate": _days(criteria.start, criteria.end),
    }
    return {keyword: value for keyword, value in keys.items() if value}


def _name(text: str) -> str:
    if re.search(r"[*?^=]", text):
        return text
    words = text.split()
    if not words:
        return ""
    joined = "*".join(words)
    return f"*{joined.upper() if joined.islower() else joined}*"


def _days(start: date | None, end: date | None) -> str:
    if start and start == end:
        return f"{start:%Y%m%d}"
    return (
        f"{start:%Y%m%d}-{end:%Y%m%d}"
        if start and end
        else f"{start:%Y%m%d}-"
        if start
        else f"-{end:%Y%m%d}"
        if end
        else ""
    )


def study_of(answer: Dataset, holdings: Mapping[str, int]) -> RemoteStudy | None:
    """An answer as a row; None when it names no study. `holdings`: images here by study."""
    uid = _text(answer, "StudyInstanceUID")
    if not is_uid(uid):
        return None
    images = _text(answer, "NumberOfStudyRelatedInstances")
    return RemoteStudy(
        study_instance_uid=uid,
        patient_name=_text(answer, "PatientName"),
        patient_id=_text(answer, "PatientID"),
        birth_date=_text(answer, "PatientBirthDate"),
        sex=_text(answer, "PatientSex"),
        study_date=_text(answer, "StudyDate"),
        study_time=_text(answer, "StudyTime"),
        description=_text(answer, "StudyDescription"),
        accession_number=_text(answer, "AccessionNumber"),
        modalities=tuple(filter(None, _text(answer, "ModalitiesInStudy").split("\\")))[:10],
        images=int(images) if images.isascii() and images.isdecimal() and len(images) < 10 else None,
        images_here=holdings.get(uid, 0),
    )


def _text(answer: Dataset, keyword: str) -> str:
    value = answer.get(keyword)
    if value is None:
        return ""
    values = list(value) if isinstance(value, MultiValue) else [value]
    return "\\".join(str(each) for each in values).strip(" \0")[:324]
