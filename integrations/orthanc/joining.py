"""What `/merge` and `/split` change in an object so that its copy belongs to another study, as Orthanc changes it.

The same source of one request is given the same result however often it is asked.
"""

from dataclasses import dataclass, field

from integrations.models import OrthancJob
from integrations.orthanc.access import OutOfRange
from integrations.orthanc.access import field as member
from integrations.orthanc.modification import OF_LEVEL, made_identifier
from integrations.orthanc.paths import Attributes
from integrations.orthanc.tags import tag_of
from integrations.orthanc.values import Element, element_of
from pacs.models import Instance, Location
from pacs.services.attributes import Level
from pacs.services.coercion import OF_THE_OTHER_PERSON
from pacs.services.copies import attributes_to_change
from radiology.errors import InvalidValue, NotFound

JOINING = {OrthancJob.Kind.MERGE, OrthancJob.Kind.SPLIT}
# PS3.3 C.7.1.1 and C.7.2.1: what objects of one study share.
MODULES_OF_A_STUDY = """PatientName PatientID IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex
    ReferencedPatientSequence ReferencedPatientPhotoSequence OtherPatientIDs OtherPatientIDsSequence OtherPatientNames
    EthnicGroup PatientComments PatientSpeciesDescription PatientSpeciesCodeSequence PatientBreedDescription
    PatientBreedCodeSequence BreedRegistrationSequence ResponsiblePerson ResponsiblePersonRole ResponsibleOrganization
    PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence StudyInstanceUID StudyDate
    StudyTime ReferringPhysicianName ReferringPhysicianIdentificationSequence StudyID AccessionNumber
    IssuerOfAccessionNumberSequence StudyDescription PhysiciansOfRecord PhysiciansOfRecordIdentificationSequence
    NameOfPhysiciansReadingStudy PhysiciansReadingStudyIdentificationSequence RequestingServiceCodeSequence
    ReferencedStudySequence ProcedureCodeSequence ReasonForPerformedProcedureCodeSequence"""
MODULES = {tag_of(name) for name in MODULES_OF_A_STUDY.split()}
# Of the patient in whose study an object was, where that is another one.
OF_A_PERSON = {f"{tag:08X}" for tag in OF_THE_OTHER_PERSON}


@dataclass
class Joining:
    """Objects go under new UIDs into a study: `removed` goes, then `replaced` is put in."""

    secret: str
    study_instance_uid: str
    removed: set[str] = field(default_factory=set)
    replaced: dict[str, Element] = field(default_factory=dict)
    transfer_syntax_uid: str = ""

    def apply(self, attributes: Attributes) -> None:
        """Change the attributes of one object, in place."""
        for level, made in ((Level.STUDY, False), (Level.SERIES, True), (Level.INSTANCE, True)):
            original = str((attributes.get(OF_LEVEL[level], {}).get("Value") or [""])[0])
            uid = made_identifier(self.secret, level, original) if made else self.study_instance_uid
            attributes[OF_LEVEL[level]] = {"vr": "UI", "Value": [uid]}
        for tag in self.removed:
            attributes.pop(tag, None)
        attributes.update(self.replaced)


def split_of(given: dict[str, object], *, secret: str, study_instance_uid: str) -> Joining:
    """What a request to split changes. Raises InvalidValue, OutOfRange."""
    found = Joining(secret, study_instance_uid)
    names: list[str] = member(given, "Remove", list, [])
    if not all(isinstance(name, str) for name in names):
        raise InvalidValue("Remove is a list of attributes.", field="Remove")
    found.removed = {_allowed(name) for name in names}
    replace: dict[str, object] = member(given, "Replace", dict, {})
    found.replaced = {_allowed(name): element_of(tag_of(name), value) for name, value in replace.items()}
    return found


def merge_into(sample: Location, *, secret: str) -> Joining:
    """What objects become in the study of an object: they say of patient and study what it says, and no more.

    As in a study that is corrected by merging, they say nothing else of the person that they came under.
    """
    attributes = attributes_to_change(location=sample)
    found = Joining(secret, sample.instance_ref.series_ref.study_ref.study_instance_uid)
    own = OF_LEVEL[Level.STUDY]
    found.removed = (MODULES | OF_A_PERSON) - {own}
    found.replaced = {tag: attributes[tag] for tag in MODULES - {own} if _is_taken(attributes.get(tag))}
    return found


def joining_of(row: OrthancJob) -> Joining:
    """The request of a job, read again. Raises NotFound where its study is gone."""
    if row.kind == OrthancJob.Kind.SPLIT:
        return split_of(row.request, secret=row.secret, study_instance_uid=row.study_instance_uid)
    return merge_into(sample_of(row.site_id, row.study_instance_uid), secret=row.secret)


def target_of(row: OrthancJob) -> dict[str, str]:
    """The study that copies went into: of a split it has no identifier before there is something in it."""
    if row.kind == OrthancJob.Kind.MERGE:
        return {"TargetStudy": row.resources[0]}
    names = [name for level, name in row.created if level == Level.STUDY]
    return {"TargetStudyUID": row.study_instance_uid, **({"TargetStudy": names[0]} if names else {})}


def sample_of(site_id: int, study_instance_uid: str) -> Location:
    """The first object of a study. Raises NotFound."""
    shown = Instance.objects.filter(
        site=site_id,
        series_ref__study_ref__study_instance_uid=study_instance_uid,
        series_ref__study_ref__deleted_at=None,
        removed_at=None,
    )
    found = Location.objects.current().filter(instance_ref__in=shown).order_by("instance_ref_id")
    sample = found.select_related("instance_ref__series_ref__study_ref__patient_ref", "volume").first()
    if sample is None:
        raise NotFound("The study that objects should be merged into is gone.")
    return sample


def _allowed(name: str) -> str:
    tag = tag_of(name)
    if not tag:
        raise InvalidValue(f"Unknown DICOM tag: {name[:64]}")
    if tag not in MODULES or tag == OF_LEVEL[Level.STUDY]:
        raise OutOfRange(
            f"Cannot modify the following tag while splitting a study (not in the patient/study modules): {name[:64]}"
        )
    return tag


def _is_taken(element: Element | None) -> bool:
    """References within the object would lead nowhere in a copy of another."""
    return element is not None and "BulkDataURI" not in element
