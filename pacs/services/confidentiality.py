"""The Basic Application Level Confidentiality Profile (PS3.15 E.1): which attributes tell who somebody is.

The table is that of the library dicom-anonymizer, made from PS3.15 2023e, Table E.1-1; of the 2008 edition,
which knew far fewer, the attributes stand here. PatientID, PatientName and the UIDs of study, series and
instance are not among them: whoever makes copies gives them new values in any case. Pixels are not looked at.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2023 as table
from pydicom.datadict import keyword_for_tag, tag_for_keyword

GIVEN_ANYWAY = {"PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"}
# Repeating groups, which the table writes 50xx and 60xx: curves as a whole, overlay data and overlay comments.
CURVES, OVERLAYS = 0x5000, 0x6000
OVERLAY_ELEMENTS = {0x3000, 0x4000}

# PS3.15-2008, Table E.1-1; the last line holds what Orthanc takes out besides.
REMOVED_2008 = """
AccessionNumber InstitutionName InstitutionAddress ReferringPhysicianName ReferringPhysicianAddress
ReferringPhysicianTelephoneNumbers StationName StudyDescription SeriesDescription InstitutionalDepartmentName
PhysiciansOfRecord PerformingPhysicianName NameOfPhysiciansReadingStudy OperatorsName AdmittingDiagnosesDescription
DerivationDescription PatientBirthDate PatientBirthTime PatientSex OtherPatientIDs OtherPatientNames PatientAge
PatientSize PatientWeight MedicalRecordLocator EthnicGroup Occupation AdditionalPatientHistory PatientComments
DeviceSerialNumber ProtocolName StudyID ImageComments RequestAttributesSequence ContentSequence
PatientAddress RequestingPhysician PatientTelephoneNumbers MedicalAlerts
"""
UIDS_2008 = """
InstanceCreatorUID ReferencedSOPInstanceUID FrameOfReferenceUID SynchronizationFrameOfReferenceUID UID
StorageMediaFileSetUID ReferencedFrameOfReferenceUID RelatedFrameOfReferenceUID
"""


@dataclass(frozen=True)
class Profile:
    """What becomes of attributes, by tag: left out, left empty, or given another UID."""

    edition: str
    removed: frozenset[int]
    emptied: frozenset[int]
    uids: frozenset[int]
    repeating_groups: bool = True

    def is_removed(self, tag: int) -> bool:
        """Whether an attribute is left out, those of repeating groups included."""
        if tag in self.removed:
            return True
        group = tag >> 16 & 0xFF00
        return self.repeating_groups and (group == CURVES or (group == OVERLAYS and tag & 0xFFFF in OVERLAY_ELEMENTS))


@cache
def basic_profile() -> Profile:
    """The profile of the table: X is left out, Z and D are left empty, U gets another UID.

    Of two actions that the table leaves to the object's kind, such as X/Z, it is the first.
    """
    left_out = (table.X_TAGS, table.X_Z_TAGS, table.X_D_TAGS, table.X_Z_D_TAGS)
    return Profile(
        edition="2023e",
        removed=_single(each for tags in left_out for each in tags),
        emptied=_single([*table.D_TAGS, *table.Z_TAGS, *table.Z_D_TAGS]),
        uids=_single(table.U_TAGS),
    )


@cache
def basic_profile_2008() -> Profile:
    """The profile as it was in 2008: dates, for one, stay."""
    return Profile(
        edition="2008",
        removed=frozenset(_tag(keyword) for keyword in REMOVED_2008.split()),
        emptied=frozenset(),
        uids=frozenset(_tag(keyword) for keyword in UIDS_2008.split()),
        repeating_groups=False,
    )


def _single(tags: Iterable[tuple[int, ...]]) -> frozenset[int]:
    """The tags that name one attribute (not a repeating group), but those that are given anyway."""
    found = {each[0] << 16 | each[1] for each in tags if len(each) == 2}
    return frozenset(tag for tag in found if keyword_for_tag(tag) not in GIVEN_ANYWAY)


def _tag(keyword: str) -> int:
    found = tag_for_keyword(keyword)
    if found is None:
        raise LookupError(keyword)
    return found
