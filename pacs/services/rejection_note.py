"""Makes rejection notes: Key Object Selection Documents after TID 2010 (PS3.16) with a title of IHE IOCM."""

from collections.abc import Sequence
from io import BytesIO
from itertools import groupby

from django.utils import timezone
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from pacs.models import Instance, RemovalCode, Study
from pacs.services.part10 import IMPLEMENTATION_CLASS_UID
from radiology.dicom import new_uid

MEANINGS = {
    RemovalCode.QUALITY: "Rejected for Quality Reasons",
    RemovalCode.PATIENT_SAFETY: "Rejected for Patient Safety Reasons",
    RemovalCode.WORKLIST_ENTRY: "Incorrect Modality Worklist Entry",
    RemovalCode.EXPIRED: "Data Retention Policy Expired",
}
DOCUMENTS = ("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.104.", "1.2.840.10008.5.1.4.1.1.11.")


def rejection_note(*, study: Study, instances: Sequence[Instance], code: RemovalCode, reason: str) -> bytes:
    """A Part 10 file that rejects `instances` of `study`, which come in the order of their series."""
    patient = study.patient_ref
    now = timezone.localtime(timezone.now())
    note = Dataset()
    note.SpecificCharacterSet = "ISO_IR 192"
    note.SOPClassUID = KeyObjectSelectionDocumentStorage
    note.SOPInstanceUID = UID(new_uid())
    note.StudyDate, note.StudyTime = study.study_date, study.study_time
    note.AccessionNumber = study.accession_number
    note.ReferringPhysicianName = study.referring_physician_name
    note.StudyID = study.study_id
    note.StudyInstanceUID = study.study_instance_uid
    note.PatientName, note.PatientID = patient.patient_name, patient.patient_id
    if patient.issuer_of_patient_id:
        note.IssuerOfPatientID = patient.issuer_of_patient_id
    note.PatientBirthDate, note.PatientSex = patient.patient_birth_date, patient.patient_sex
    note.Modality = "KO"
    note.Manufacturer = "Sinar"
    note.SeriesInstanceUID = new_uid()
    note.SeriesNumber, note.InstanceNumber = 9900, 1
    note.SeriesDescription = MEANINGS[code]
    note.ReferencedPerformedProcedureStepSequence = []  # type 2
    note.ContentDate, note.ContentTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    note.TimezoneOffsetFromUTC = f"{now:%z}"
    note.ValueType, note.ContinuityOfContent = "CONTAINER", "SEPARATE"
    note.ConceptNameCodeSequence = [_code(code, MEANINGS[code])]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    note.ContentTemplateSequence = [template]
    evidence = Dataset()
    evidence.StudyInstanceUID = study.study_instance_uid
    evidence.ReferencedSeriesSequence = [
        _series(uid, list(rows)) for uid, rows in groupby(instances, lambda each: each.series_ref.series_instance_uid)
    ]
    note.CurrentRequestedProcedureEvidenceSequence = [evidence]
    note.ContentSequence = [_content(each) for each in instances]
    if reason:
        note.ContentSequence.insert(0, _description(reason))
    note.file_meta = FileMetaDataset()
    note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    note.file_meta.MediaStorageSOPClassUID = note.SOPClassUID
    note.file_meta.MediaStorageSOPInstanceUID = note.SOPInstanceUID
    note.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    file = BytesIO()
    note.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = str(value), "DCM", meaning
    return item


def _reference(instance: Instance) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    return item


def _series(uid: str, instances: Sequence[Instance]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = uid
    item.ReferencedSOPSequence = [_reference(each) for each in instances]
    return item


def _content(instance: Instance) -> Dataset:
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    is_image = bool(instance.rows) and not instance.sop_class_uid.startswith(DOCUMENTS)
    item.ValueType = "IMAGE" if is_image else "COMPOSITE"
    item.ReferencedSOPSequence = [_reference(instance)]
    return item


def _description(reason: str) -> Dataset:
    """TID 2010 row 5: (113012, DCM, "Key Object Description")."""
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = [_code("113012", "Key Object Description")]
    item.TextValue = reason
    return item
