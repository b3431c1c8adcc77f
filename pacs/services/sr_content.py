"""Pieces of structured reports: content items (PS3.3 C.17.3), references, observers (PS3.16 TID 1001 to 1004)."""

from collections.abc import Iterable

from django.conf import settings
from pydicom import Dataset

from pacs.services.part10 import IMPLEMENTATION_VERSION_NAME
from pacs.services.report_document import coded, derived_uid, reference
from radiology.models import Role, Site, User

# Value, scheme, meaning.
Code = tuple[str, str, str]
# Series, SOP class, SOP instance.
Evidence = tuple[str, str, str]
# Study, series, SOP class, SOP instance.
Reference = tuple[str, str, str, str]
LANGUAGES = {"id": "Indonesian", "en": "English"}
CONTEXT = "HAS OBS CONTEXT"
# Of CID 7452, Organizational Roles. Who has several is named by the first.
ROLES: dict[Role, Code] = {
    Role.RADIOLOGIST: ("309343006", "SCT", "Physician"),
    Role.DOCTOR: ("309343006", "SCT", "Physician"),
    Role.RADIOGRAPHER: ("159016003", "SCT", "Radiologic Technologist"),
}


def item(relationship: str, value_type: str, concept: Code | None) -> Dataset:
    """One content item."""
    made = Dataset()
    made.RelationshipType, made.ValueType = relationship, value_type
    if concept is not None:
        made.ConceptNameCodeSequence = [coded(*concept)]
    return made


def code_item(relationship: str, concept: Code, code: Code) -> Dataset:
    made = item(relationship, "CODE", concept)
    made.ConceptCodeSequence = [coded(*code)]
    return made


def text_item(relationship: str, concept: Code, text: str) -> Dataset:
    made = item(relationship, "TEXT", concept)
    made.TextValue = text
    return made


def uid_item(relationship: str, concept: Code, uid: str) -> Dataset:
    made = item(relationship, "UIDREF", concept)
    made.UID = uid
    return made


def container(relationship: str, concept: Code, content: Iterable[Dataset]) -> Dataset:
    made = item(relationship, "CONTAINER", concept)
    made.ContinuityOfContent = "SEPARATE"
    made.ContentSequence = list(content)
    return made


def image(relationship: str, sop_class_uid: str, sop_instance_uid: str, frame: int | None = None) -> Dataset:
    """An image, or one frame of it (counted from 1)."""
    made = item(relationship, "IMAGE", None)
    named = reference(sop_class_uid, sop_instance_uid)
    if frame is not None:
        named.ReferencedFrameNumber = frame
    made.ReferencedSOPSequence = [named]
    return made


def of_study(study_instance_uid: str, objects: Iterable[Evidence]) -> Dataset:
    """Hierarchical SOP Instance Reference Macro (PS3.3 C.17.2.1): each series and object once, in the order given."""
    made = Dataset()
    made.StudyInstanceUID = study_instance_uid
    made.ReferencedSeriesSequence = []
    by_series: dict[str, list[Dataset]] = {}
    for uid, sop_class, instance in dict.fromkeys(objects):
        by_series.setdefault(uid, []).append(reference(sop_class, instance))
    for uid, references in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = uid
        series.ReferencedSOPSequence = references
        made.ReferencedSeriesSequence.append(series)
    return made


def set_evidence(made: Dataset, study_instance_uid: str, objects: Iterable[Reference]) -> None:
    """SR Document General (PS3.3 C.17.2): what a document of this study is of, there and in other studies."""
    by_study: dict[str, list[Evidence]] = {}
    for uid, series, sop_class, instance in objects:
        by_study.setdefault(uid, []).append((series, sop_class, instance))
    if own := by_study.pop(study_instance_uid, None):
        made.CurrentRequestedProcedureEvidenceSequence = [of_study(study_instance_uid, own)]
    if by_study:
        made.PertinentOtherEvidenceSequence = [of_study(uid, found) for uid, found in by_study.items()]


def template(identifier: str) -> Dataset:
    """Content Template Sequence's item for a template of PS3.16."""
    made = Dataset()
    made.MappingResource, made.TemplateIdentifier = "DCMR", identifier
    return made


def language_item() -> Dataset:
    """TID 1204: the language of the installation, in which its reports are written."""
    language = settings.LANGUAGE_CODE
    concept = ("121049", "DCM", "Language of Content Item and Descendants")
    return code_item("HAS CONCEPT MOD", concept, (language, "RFC5646", LANGUAGES[language]))


def person_observer(*, name: str, organisation: str = "", user: User | None = None) -> list[Dataset]:
    """TID 1003: somebody by their name (a PN); of a user also the login name and the role."""
    made = [
        code_item(CONTEXT, ("121005", "DCM", "Observer Type"), ("121006", "DCM", "Person")),
        item(CONTEXT, "PNAME", ("121008", "DCM", "Person Observer Name")),
    ]
    made[1].PersonName = name
    if user is not None:
        login = ("128774", "DCM", "Person Observer's Login Name")
        made.append(text_item(CONTEXT, login, user.get_username()))
    if organisation:
        made.append(text_item(CONTEXT, ("121009", "DCM", "Person Observer's Organization Name"), organisation))
    role = _role(user) if user is not None else None
    if role is not None:
        made.append(code_item(CONTEXT, ("121010", "DCM", "Person Observer's Role in the Organization"), role))
    return made


def device_observer(site: Site) -> list[Dataset]:
    """TID 1004: this server."""
    return [
        code_item(CONTEXT, ("121005", "DCM", "Observer Type"), ("121007", "DCM", "Device")),
        uid_item(CONTEXT, ("121012", "DCM", "Device Observer UID"), derived_uid("site", site.code)),
        text_item(CONTEXT, ("121013", "DCM", "Device Observer Name"), "Sinar"),
        text_item(CONTEXT, ("121014", "DCM", "Device Observer Manufacturer"), "Sinar"),
        text_item(CONTEXT, ("121015", "DCM", "Device Observer Model Name"), IMPLEMENTATION_VERSION_NAME),
    ]


def _role(user: User) -> Code | None:
    groups = set(user.groups.values_list("name", flat=True))
    return next((code for role, code in ROLES.items() if role.value in groups), None)
