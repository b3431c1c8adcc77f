"""Pieces of structured reports: content items (PS3.3 C.17.3), references, observers (PS3.16 TID 1001 to 1004)."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from pydicom import Dataset

from pacs.services.part10 import IMPLEMENTATION_VERSION_NAME
from pacs.services.report_document import coded, derived_uid, reference
from radiology.models import Role, Site, User

# Value, scheme, meaning.
Code = tuple[str, str, str]
# Series, SOP class, SOP instance.
Evidence = tuple[str, str, str]
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


def of_study(study_instance_uid: str, objects: Sequence[Evidence]) -> Dataset:
    """Hierarchical SOP Instance Reference Macro (PS3.3 C.17.2.1); the objects come in the order of their series."""
    made = Dataset()
    made.StudyInstanceUID = study_instance_uid
    made.ReferencedSeriesSequence = []
    for uid, rows in groupby(objects, lambda each: each[0]):
        series = Dataset()
        series.SeriesInstanceUID = uid
        series.ReferencedSOPSequence = [reference(sop_class, instance) for _, sop_class, instance in rows]
        made.ReferencedSeriesSequence.append(series)
    return made


def template(identifier: str) -> Dataset:
    """Content Template Sequence's item for a template of PS3.16."""
    made = Dataset()
    made.MappingResource, made.TemplateIdentifier = "DCMR", identifier
    return made


def person_observer(*, name: str, organisation: str, user: User | None) -> list[Dataset]:
    """TID 1003: somebody by their name (a PN); of a user also the login name and the role."""
    made = [
        code_item(CONTEXT, ("121005", "DCM", "Observer Type"), ("121006", "DCM", "Person")),
        item(CONTEXT, "PNAME", ("121008", "DCM", "Person Observer Name")),
    ]
    made[1].PersonName = name
    if user is not None:
        login = ("128774", "DCM", "Person Observer's Login Name")
        made.append(text_item(CONTEXT, login, user.get_username()))
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
