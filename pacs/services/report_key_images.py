"""The key images of a report in its structured report: a section of their own after TID 2000 (PS3.16), and evidence.

An IMAGE item of a Basic Text SR has no window; Softcopy Presentation States, which would, are not made.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydicom import Dataset

from pacs.models import Study
from pacs.services.key_images import ArchivedImages
from pacs.services.report_document import whole_text
from pacs.services.sr_content import Code, Reference, container, image, text_item
from radiology.models import ReportVersion
from radiology.services.key_images import place_of, window_of

# CID 7001, and what is said of a key image (TID 2010).
HEADING: Code = ("55113-5", "LN", "Key Images")
DESCRIPTION: Code = ("113012", "DCM", "Key Object Description")


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


def key_image_references(images: Sequence[Mapping[str, Any]]) -> list[Reference]:
    """Each image once, sorted by its study and series."""
    return sorted({(each["study"], each["series"], each["sop_class"], each["instance"]) for each in images})


def key_image_section(images: Sequence[Mapping[str, Any]]) -> list[Dataset]:
    """A container with each image, followed by what is said of it; nothing without images."""
    if not images:
        return []
    content = [item for number, each in enumerate(images, 1) for item in _shown(number, each)]
    return [container("CONTAINS", HEADING, content)]


def _shown(number: int, chosen: Mapping[str, Any]) -> tuple[Dataset, Dataset]:
    parts = [chosen["caption"], place_of(chosen), window_of(chosen)]
    words = whole_text(f"{number}: " + " · ".join(part for part in parts if part)) or "-"
    return (
        image("CONTAINS", chosen["sop_class"], chosen["instance"], chosen["frame"]),
        text_item("CONTAINS", DESCRIPTION, words),
    )
