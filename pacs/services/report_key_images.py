"""The key images of a report in its structured report: a section of their own after TID 2000 (PS3.16), and evidence.

An IMAGE item of a Basic Text SR has no window; Softcopy Presentation States, which would, are not made.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydicom import Dataset

from pacs.models import Study
from pacs.services.key_images import ArchivedImages
from pacs.services.report_document import coded, reference, whole_text
from radiology.models import ReportVersion
from radiology.services.key_images import place_of, window_of

# CID 7001, and what is said of a key image (TID 2010).
HEADING = ("55113-5", "LN", "Key Images")
DESCRIPTION = ("113012", "DCM", "Key Object Description")
# Series, SOP class, SOP instance.
Evidence = tuple[str, str, str]


def key_images_here(version: ReportVersion, study: Study) -> list[dict[str, Any]]:
    """Those of a version that are in the archive now, under the patient of its study, with the UIDs that they have now.

    What was deleted meanwhile, or turned out to be somebody else's, is not referred to.
    """
    images = version.key_images
    if not images:
        return []
    here = ArchivedImages().images(
        patient=study.patient_ref_id, site=study.site_id, instances={each["instance"] for each in images}
    )
    found = [(each, here[each["instance"]]) for each in images if each["instance"] in here]
    return [{**each, "study": now.study, "series": now.series, "sop_class": now.sop_class} for each, now in found]


def with_key_images(
    evidence: Sequence[Evidence], images: Sequence[Mapping[str, Any]], study: Study
) -> Sequence[Evidence]:
    """The images of the study that are named as evidence, the key images among them however large it is."""
    named = set(evidence)
    missing = sorted({_evidence(each) for each in images if each["study"] == study.study_instance_uid} - named)
    if not missing:
        return evidence
    order: dict[str, list[Evidence]] = {}
    for each in [*evidence, *missing]:
        order.setdefault(each[0], []).append(each)
    return [each for rows in order.values() for each in rows]


def other_evidence(images: Sequence[Mapping[str, Any]], study: Study) -> dict[str, list[Evidence]]:
    """Key images of other studies of the patient, by their study, sorted by their series."""
    found: dict[str, set[Evidence]] = {}
    for each in images:
        if each["study"] != study.study_instance_uid:
            found.setdefault(each["study"], set()).add(_evidence(each))
    return {uid: sorted(rows) for uid, rows in found.items()}


def key_image_section(images: Sequence[Mapping[str, Any]]) -> list[Dataset]:
    """A container with each image, followed by what is said of it; nothing without images."""
    if not images:
        return []
    section = Dataset()
    section.RelationshipType, section.ValueType = "CONTAINS", "CONTAINER"
    section.ConceptNameCodeSequence = [coded(*HEADING)]
    section.ContinuityOfContent = "SEPARATE"
    section.ContentSequence = [
        item for number, image in enumerate(images, 1) for item in (_image(image), _description(number, image))
    ]
    return [section]


def _image(image: Mapping[str, Any]) -> Dataset:
    """Image Reference Macro (PS3.3 C.18.4)."""
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE"
    named = reference(image["sop_class"], image["instance"])
    if image["frame"] is not None:
        named.ReferencedFrameNumber = [image["frame"]]
    item.ReferencedSOPSequence = [named]
    return item


def _description(number: int, image: Mapping[str, Any]) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = [coded(*DESCRIPTION)]
    parts = [image["caption"], place_of(image), window_of(image)]
    item.TextValue = whole_text(f"{number}: " + " · ".join(part for part in parts if part)) or "-"
    return item


def _evidence(image: Mapping[str, Any]) -> Evidence:
    return image["series"], image["sop_class"], image["instance"]
