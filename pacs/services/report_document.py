"""What the DICOM objects made of a report have in common: whose they are, in which study, and values that fit.

The same version in the same study makes the same bytes: every moment is the version's, every UID is derived.
"""

import unicodedata
import uuid
from datetime import datetime
from io import BytesIO
from zoneinfo import ZoneInfo

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from pacs.models import ReportObjectKind, Study
from pacs.services.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from radiology.dicom import LONGEST, fit, parse_da, parse_offset, parse_tm
from radiology.models import SIGNED, Report, ReportVersion

# (18748-4, LN): CID 7000.
TITLE = ("18748-4", "LN", "Diagnostic Imaging Report")
REPORTS = uuid.UUID("6d9b0a5c-3f0e-4d7c-9a3e-2f4c1b7d9e60")
SERIES_NUMBERS = {ReportObjectKind.SR: 9910, ReportObjectKind.PDF: 9911, ReportObjectKind.MEASUREMENTS: 9912}


def derived_uid(*parts: object) -> str:
    """A UID under 2.25 that is the same for the same parts."""
    return f"2.25.{uuid.uuid5(REPORTS, '/'.join(str(part) for part in parts)).int}"


def sop_instance_uid_of(*, version: ReportVersion, study: Study, kind: ReportObjectKind) -> str:
    """Of the object that this version of a report is in this study."""
    return derived_uid(version.report_ref.public_id, kind, study.study_instance_uid, version.number)


def document(*, version: ReportVersion, study: Study, kind: ReportObjectKind, sop_class_uid: str) -> Dataset:
    """The modules of patient, study, series and equipment (PS3.3 C.7), with the study's values as it holds them now."""
    at = local(version.at, study)
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = UID(sop_class_uid)
    made.SOPInstanceUID = UID(sop_instance_uid_of(version=version, study=study, kind=kind))
    made.TimezoneOffsetFromUTC = f"{at:%z}"
    made.InstanceCreationDate, made.InstanceCreationTime = f"{at:%Y%m%d}", f"{at:%H%M%S.%f}"
    identify(made, study)
    made.Modality = kind.modality
    made.SeriesInstanceUID = UID(derived_uid(version.report_ref.public_id, kind, study.study_instance_uid))
    made.SeriesNumber, made.InstanceNumber = SERIES_NUMBERS[kind], version.number
    made.SeriesDescription = "Report"
    made.SeriesDate, made.SeriesTime = made.InstanceCreationDate, made.InstanceCreationTime
    made.ContentDate, made.ContentTime = made.InstanceCreationDate, made.InstanceCreationTime
    made.Manufacturer = made.ManufacturerModelName = "Sinar"
    made.SoftwareVersions = IMPLEMENTATION_VERSION_NAME
    made.InstitutionName = fit("LO", study.site.name)
    return made


def identify(made: Dataset, study: Study) -> None:
    """The modules of patient and study, with the values as the study holds them now."""
    _patient(made, study)
    _study(made, study)


def part10(made: Dataset) -> bytes:
    """A data set as a Part 10 file in Explicit VR Little Endian."""
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """A code (PS3.3 8.8); one that is too long for Code Value is a Long Code Value."""
    item = Dataset()
    if len(value) > LONGEST["SH"]:
        item.LongCodeValue = value
    else:
        item.CodeValue = value
    item.CodingSchemeDesignator, item.CodeMeaning = fit("SH", scheme), fit("LO", meaning)
    return item


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


def local(at: datetime, study: Study) -> datetime:
    """A moment in the zone that the study's own times are in."""
    return at.astimezone(parse_offset(study.timezone_offset_from_utc) or ZoneInfo(study.site.time_zone))


def date_time(at: datetime) -> str:
    """A DT with its offset."""
    return f"{at:%Y%m%d%H%M%S.%f%z}"


def whole_text(text: str) -> str:
    """`text` as a value of several lines: no control characters but line ends, which are CR LF; tabs are spaces."""
    plain = "".join(c for c in text.expandtabs(4) if c == "\n" or unicodedata.category(c) not in {"Cc", "Cs"})
    return plain.replace("\n", "\r\n").rstrip()


def person(name: str) -> str:
    """A name as a PN: at most three groups of five components, 64 characters each (PS3.5 6.2.1)."""
    groups = []
    for group in fit("PN", name).split("="):
        parts = [part.strip() for part in group.split("^")]
        groups.append("^".join([*parts[:4], " ".join(parts[4:])]).rstrip("^ "))
    return "=".join(groups).rstrip("=")


def signer_of(version: ReportVersion) -> str:
    """Who answers for a version, as a PN; empty where nobody was named."""
    return person(version.author_name)


def writer_of(version: ReportVersion) -> str:
    """The resident whose text a supervisor signed too, as a PN; else empty."""
    return person(version.writer_name)


def is_verified(version: ReportVersion) -> bool:
    """Whether somebody who is named attests to it. What came from elsewhere without a name is not."""
    return version.status in SIGNED and bool(signer_of(version))


def organisation(report: Report) -> str:
    return fit("LO", report.site.name) or report.site.code


def whole(vr: str, text: str) -> str:
    """An identifier as it is, or nothing: a part of it would be another one."""
    return text if fit(vr, text) == text else ""


def _patient(made: Dataset, study: Study) -> None:
    patient = study.patient_ref
    born = parse_da(patient.patient_birth_date)
    made.PatientName = person(patient.patient_name)
    made.PatientID = whole("LO", patient.patient_id)
    if made.PatientID and patient.issuer_of_patient_id:
        made.IssuerOfPatientID = fit("LO", patient.issuer_of_patient_id)
    made.PatientBirthDate = f"{born:%Y%m%d}" if born else ""
    made.PatientSex = patient.patient_sex if patient.patient_sex in {"M", "F", "O"} else ""


def _study(made: Dataset, study: Study) -> None:
    day = parse_da(study.study_date)
    made.StudyInstanceUID = study.study_instance_uid
    made.StudyDate = f"{day:%Y%m%d}" if day else ""
    made.StudyTime = study.study_time.replace(":", "").strip() if parse_tm(study.study_time) else ""
    made.AccessionNumber = whole("SH", study.accession_number)
    made.StudyID = whole("SH", study.study_id)
    made.StudyDescription = fit("LO", study.study_description)
    made.ReferringPhysicianName = person(study.referring_physician_name)
    if made.AccessionNumber and study.issuer_of_accession_number:
        made.IssuerOfAccessionNumberSequence = [issuer(study.issuer_of_accession_number)]


def issuer(name: str) -> Dataset:
    """HL7v2 Hierarchic Designator Macro (PS3.3 10.14)."""
    item = Dataset()
    item.LocalNamespaceEntityID = name
    return item
