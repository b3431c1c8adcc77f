"""What the tests of imports share: folders of objects, and what of them is in the archive."""

import hashlib
from collections import Counter
from pathlib import Path

from pydicom.uid import generate_uid

from pacs.models import Location
from pacs.storage import open_object
from tests.pacs.objects import bare, ct, part10


def make_objects(folder: Path, count: int, *, per_study: int = 50, side: int = 16) -> dict[str, bytes]:
    """`count` objects as files below `folder`, a sub-folder a study: SHA-256 of each data set by its UID."""
    made: dict[str, bytes] = {}
    study = series = ""
    for number in range(count):
        if number % per_study == 0:
            study, series = generate_uid(), generate_uid()
        data_set = ct(
            side=side,
            seed=number,
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            InstanceNumber=number,
            PatientID=f"MRN-{number // per_study}",
            AccessionNumber=f"A{number // per_study}",
        )
        path = folder / f"study{number // per_study}" / f"IM{number:05d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = part10(data_set)
        path.write_bytes(file)
        made[data_set.SOPInstanceUID] = hashlib.sha256(bare(file)).digest()
    return made


def archived() -> dict[str, bytes]:
    """SHA-256 of what lies on the disk, by SOP Instance UID; AssertionError when something is there twice."""
    found: dict[str, bytes] = {}
    locations = Location.objects.select_related("instance_ref", "volume")
    counted = Counter(locations.values_list("instance_ref__sop_instance_uid", flat=True))
    assert not [uid for uid, number in counted.items() if number > 1]
    for location in locations:
        with open_object(location=location) as file:
            file.seek(location.data_set_offset)
            found[location.instance_ref.sop_instance_uid] = hashlib.sha256(file.read()).digest()
    return found
