"""Real objects, from the files inside pydicom's wheel, given to the invented patients."""

import warnings
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from pacs.demo.labels import Examination, finish
from pacs.demo.patients import HOSPITAL

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
# What would name the patient, the staff or the order of another hospital, or contradict the new ones.
FOREIGN = """
    PatientAge PatientAddress PatientBirthName PatientBirthTime PatientComments PatientMotherBirthName OtherPatientIDs
    OtherPatientNames EthnicGroup Occupation AdditionalPatientHistory PatientTelephoneNumbers IssuerOfPatientID
    PatientInstitutionResidence CurrentPatientLocation AdmissionID InstitutionAddress InstitutionalDepartmentName
    PerformingPhysicianName NameOfPhysiciansReadingStudy PhysiciansOfRecord OperatorsName RequestingPhysician
    RequestingService RequestedProcedureDescription RequestAttributesSequence PerformedProcedureStepDescription
    PerformedProcedureStepID PerformedProcedureStepStartDate PerformedProcedureStepStartTime InstanceCreatorUID
"""
MOMENTS = ("Series", "Acquisition", "Content", "InstanceCreation", "Curve", "Overlay")


def sample(name: str) -> Dataset:
    """The object in the file `name`, header and pixels as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of these files test what readers forgive
        ds = pydicom.dcmread(FOLDER / name)
        ds.decode()
    return ds


def relabelled(name: str, examination: Examination, number: int, description: str) -> Dataset:
    """The sample as part of `examination`: another patient, other UIDs and dates, UTF-8, pixels untouched."""
    ds = sample(name)
    transfer_syntax_uid, sop_class_uid = ds.file_meta.TransferSyntaxUID, ds.SOPClassUID
    ds.remove_private_tags()
    for keyword in FOREIGN.split():
        if keyword in ds:
            delattr(ds, keyword)

    def rename(_: Dataset, element: DataElement) -> None:
        if element.tag == 0x00080005:
            element.value = "ISO_IR 192"
        elif element.VR == "UI" and element.value and not element.keyword.endswith("ClassUID"):
            many = element.VM > 1
            renamed = [
                uid if str(uid).startswith("1.2.840.10008.") else examination.uid(name, uid)
                for uid in (element.value if many else [element.value])
            ]
            element.value = renamed if many else renamed[0]

    ds.walk(rename)
    present = [kind for kind in MOMENTS if f"{kind}Date" in ds or f"{kind}Time" in ds]
    if "AcquisitionDateTime" in ds:
        ds.AcquisitionDateTime = f"{examination.at:%Y%m%d%H%M%S}"
    examination.fill(ds)
    examination.moment(ds, *present, seconds=20 * number)
    ds.InstitutionName = HOSPITAL
    if "StationName" in ds:
        ds.StationName = f"{ds.Modality}-1" if "Modality" in ds else "OT-1"
    ds.SeriesInstanceUID, ds.SeriesNumber = examination.uid(name, "series"), number
    ds.SeriesDescription = description
    if not ds.get("InstanceNumber"):
        ds.InstanceNumber = 1
    return finish(ds, sop_class_uid, examination.uid(name), transfer_syntax_uid)
