"""Objects as a DICOM file-set: which files, under which names (PS3.10 8), listed in a DICOMDIR."""

import hashlib
import json
import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from pacs.models import Instance, Location, Series, Study
from pacs.services import dicomdir
from pacs.services.encoding import BLOCK
from pacs.services.metadata import metadata_of
from pacs.services.outgoing import part10_size, syntax_as_stored
from pacs.services.overlay import laid_over, text_of
from radiology.errors import NotFound

ROWS = 2000
# The size of an object that is rewritten on its way out.
UNKNOWN = 0xFFFFFFFFFFFFFFFF
# Rises when the same objects become other bytes.
FORM = "1"


@dataclass
class FileSet:
    """What is in it, in order: README.TXT, the directory, and the objects with their sizes and places."""

    directory: BinaryIO
    readme: bytes = b""
    directory_size: int = 0
    moment: int = 0
    etag: str = ""
    keys: "array[int]" = field(default_factory=lambda: array("Q"))
    sizes: "array[int]" = field(default_factory=lambda: array("Q"))
    places: "array[int]" = field(default_factory=lambda: array("I"))
    _last: int = 0

    def name(self, number: int) -> bytes:
        return "/".join(_components(*self.places[4 * number : 4 * number + 4])).encode("ascii")

    def fill(self, locations: QuerySet[Location]) -> None:
        digest = hashlib.sha256()
        tree = _Tree()
        chosen = locations.order_by(*ORDER)
        present = list(chosen.order_by().values_list("instance_ref__series_ref_id", flat=True).distinct())
        series = Series.objects.select_related("study_ref__patient_ref").in_bulk(present)
        identity = hashlib.sha256(json.dumps(sorted(each.series_instance_uid for each in series.values())).encode())
        directory = dicomdir.Directory(self.directory, identity.hexdigest())
        rows = chosen.values_list(*FIELDS).iterator(ROWS)
        while batch := list(islice(rows, ROWS)):
            self._add(batch, series, tree, directory)
        if not self.keys:
            raise NotFound("There is nothing to download.")
        self.directory_size = directory.finish()
        self.moment = tree.moment
        self.readme = _readme(len(self.keys))
        for study in {each.study_ref.pk: each.study_ref for each in series.values()}.values():
            digest.update(f"{study.pk}.{study.version} ".encode())
        for part in (FORM.encode(), self.readme, self.keys.tobytes(), self.sizes.tobytes(), self.places.tobytes()):
            digest.update(part)
        self.directory.seek(0)
        while block := self.directory.read(BLOCK):
            digest.update(block)
        self.etag = f'"{digest.hexdigest()[:32]}"'

    def _add(
        self,
        rows: list[tuple[Any, ...]],
        series: Mapping[int, Series],
        tree: "_Tree",
        directory: dicomdir.Directory,
    ) -> None:
        """The next rows: sizes and names of the objects, and their records in the directory."""
        documents = locations_of([row[0] for row in rows if dicomdir.record_kind(row[7]) != "IMAGE"])
        for key, offset, size, syntax, instance_id, series_id, uid, sop_class, instance_number in rows:
            if instance_id == self._last:  # the same object in another place
                continue
            self._last = instance_id
            if series_id not in series:
                raise NotFound("The study was changed at this moment: try again.")
            place, parent = tree.place(series[series_id], directory)
            location = Location(
                pk=key,
                instance_ref=Instance(
                    pk=instance_id, series_ref=series[series_id], sop_instance_uid=uid, sop_class_uid=sop_class
                ),
                transfer_syntax_uid=syntax,
                data_set_offset=offset,
                size=size,
            )
            kind = dicomdir.record_kind(sop_class)
            shown = place[3] + 1 if instance_number is None else instance_number
            if kind == "IMAGE":
                keys = dicomdir.text(0x00200013, "IS", str(shown))
            else:
                header = metadata_of(location=documents[key], base_url="")
                keys = dicomdir.of_header(header, kind=kind, instance_number=shown)
            file = dicomdir.File(_components(*place), sop_class, uid, syntax_as_stored(location))
            directory.add(kind, keys, parent=parent, file=file)
            known = part10_size(location=location)
            self.keys.append(key)
            self.sizes.append(UNKNOWN if known is None else known)
            self.places.extend(place)


ORDER = (
    "instance_ref__series_ref__study_ref_id",
    "instance_ref__series_ref__series_number",
    "instance_ref__series_ref_id",
    "instance_ref__instance_number",
    "instance_ref_id",
    "id",
)
FIELDS = (
    "id", "data_set_offset", "size", "transfer_syntax_uid", "instance_ref_id", "instance_ref__series_ref_id",
    "instance_ref__sop_instance_uid", "instance_ref__sop_class_uid", "instance_ref__instance_number",
)  # fmt: skip
RELATED = ("instance_ref__series_ref__study_ref", "volume")


def _components(patient: int, study: int, series: int, instance: int) -> tuple[str, ...]:
    """A File ID (PS3.10 8.2): components of eight characters, digits and capitals."""
    return ("DICOM", f"PA{patient:06d}", f"ST{study:06d}", f"SE{series:06d}", f"IM{instance:06X}")


def _readme(count: int) -> bytes:
    text = _(
        "This folder holds %(count)d DICOM objects: medical images and documents.\n"
        "Open the file DICOMDIR with a DICOM viewer. The folder DICOM holds the objects.\n"
        "They concern a patient: keep them confidential.\n"
    ) % {"count": count}
    return text.replace("\n", "\r\n").encode("utf-8")


class _Tree:
    """Which patient, study and series got which number and which directory record."""

    def __init__(self) -> None:
        self._patients: dict[int, tuple[int, int, int]] = {}
        self._study = self._series = 0
        self._place = [0, 0, 0, 0]
        self._parent = self._study_record = 0
        self.moment = 0

    def place(self, series: Series, directory: dicomdir.Directory) -> tuple[tuple[int, int, int, int], int]:
        """The numbers of the next object of `series`, and the record that its own goes below."""
        study = series.study_ref
        if series.pk == self._series:
            self._place[3] += 1
        else:
            if study.pk != self._study:
                self._begin_study(study, directory)
            else:
                self._place[2] += 1
            self._series, self._place[3] = series.pk, 0
            self._parent = directory.add("SERIES", _series_keys(series, self._place[2]), parent=self._study_record)
        patient, of_study, of_series, instance = self._place
        return (patient, of_study, of_series, instance), self._parent

    def _begin_study(self, study: Study, directory: dicomdir.Directory) -> None:
        known = self._patients.get(study.patient_ref_id)
        if known is None:
            number = len(self._patients)
            known = (number, directory.add("PATIENT", _patient_keys(study, number)), 0)
        number, record, studies = known
        self._patients[study.patient_ref_id] = (number, record, studies + 1)
        self._study, self._place = study.pk, [number, studies, 0, 0]
        self._study_record = directory.add("STUDY", _study_keys(study, studies), parent=record)
        self.moment = max(self.moment, _dos_moment(study))


def _patient_keys(study: Study, number: int) -> bytes:
    found = laid_over(study.overlay, study.attributes)
    values = {tag: text_of(found.get(f"{tag:08X}")) for tag in (0x00100010, 0x00100020, 0x00100030, 0x00100040)}
    # Type 1 in the directory, and empty in many an object.
    values[0x00100020] = values[0x00100020] or f"PA{number:06d}"
    vrs = {0x00100010: "PN", 0x00100020: "LO", 0x00100030: "DA", 0x00100040: "CS"}
    return dicomdir.texts((tag, vrs[tag], value[:64] if tag != 0x00100010 else value) for tag, value in values.items())


def _study_keys(study: Study, number: int) -> bytes:
    over = study.overlay.get("attributes", {})

    def shown(tag: str, column: str) -> str:
        return text_of(over[tag]) if tag in over else column

    return dicomdir.texts(
        [
            (0x00080020, "DA", shown("00080020", study.study_date) or f"{study.created_at:%Y%m%d}"),
            (0x00080030, "TM", shown("00080030", study.study_time) or f"{study.created_at:%H%M%S}"),
            (0x00080050, "SH", shown("00080050", study.accession_number)),
            (0x00081030, "LO", shown("00081030", study.study_description)),
            (0x0020000D, "UI", study.study_instance_uid),
            (0x00200010, "SH", shown("00200010", study.study_id) or f"ST{number:06d}"),
        ]
    )


def _series_keys(series: Series, number: int) -> bytes:
    over = series.overlay.get("attributes", {})
    description = text_of(over["0008103E"]) if "0008103E" in over else series.series_description
    given = text_of(over["00200011"]) if "00200011" in over else ""
    series_number = number + 1 if series.series_number is None else series.series_number
    return dicomdir.texts(
        [
            (0x00080060, "CS", series.modality or "OT"),
            (0x0008103E, "LO", description),
            (0x0020000E, "UI", series.series_instance_uid),
            (0x00200011, "IS", given or str(series_number)),
        ]
    )


def _dos_moment(study: Study) -> int:
    """Date and time of the study as in a ZIP (APPNOTE 4.4.6), the date in the upper half; 1980 where there is none."""
    digits = re.sub(r"[^0-9]", "", study.study_date)[:8]
    year, month, day = (int(digits[:4]), int(digits[4:6]), int(digits[6:])) if len(digits) == 8 else (0, 0, 0)
    if not (1980 <= year <= 2107 and 1 <= month <= 12 and 1 <= day <= 31):
        return 1 << 21 | 1 << 16
    clock = re.sub(r"[^0-9]", "", study.study_time.partition(".")[0]).ljust(6, "0")
    hour, minute, second = min(int(clock[:2]), 23), min(int(clock[2:4]), 59), min(int(clock[4:6]), 59)
    return (year - 1980) << 25 | month << 21 | day << 16 | hour << 11 | minute << 5 | second // 2


def locations_of(keys: list[int]) -> dict[int, Location]:
    """The locations of `keys` with all that the way out needs. Raises NotFound when one is gone."""
    found = Location.objects.select_related(*RELATED).in_bulk(keys)
    if len(found) != len(keys):
        raise NotFound("An object was removed from the archive while it was downloaded.")
    return found
