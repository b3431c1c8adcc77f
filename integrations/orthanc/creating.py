"""`POST /tools/create-dicom`: objects of attributes and a picture or PDF, stored as those that devices send.

Orthanc writes what the request says and no more. Here an object names its SOP class, and has the attributes that
images of secondary capture and encapsulated documents must have, if empty.
"""

import base64
import binascii
import io
import uuid
from collections.abc import Iterator
from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from PIL import Image, UnidentifiedImageError
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from integrations.orthanc.access import OrthancView, answer, field, json_object, raw_body
from integrations.orthanc.identifiers import series_identifier
from integrations.orthanc.lookup import find_any, location_of, object_of, rows_of
from integrations.orthanc.storing import entries_of
from integrations.orthanc.tags import tag_of
from integrations.orthanc.values import DATA_URI, Element, element_of, with_creators
from pacs.services.attributes import Level
from pacs.services.copies import attributes_to_change
from pacs.services.json_encoding import BulkValue, encoded
from pacs.services.store import Received, Source, Stored, StoreOutcome, receive, store_instances
from radiology.dicom import new_uid
from radiology.errors import Conflict, InvalidValue, NotDone, NotFound, TooLarge
from radiology.models import AuditAction, Site

LARGEST_REQUEST = 32 * 1024 * 1024
MOST_PIXELS = 64_000_000
MOST_OBJECTS = 2000
PIXEL_DATA = "7FE00010"
# Attributes of the modules of each level that a new object shares with its siblings (PS3.3 C.7.1.1, C.7.2.1, C.7.3.1).
MODULES = {
    Level.PATIENT: """PatientName PatientID IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex
        OtherPatientIDs OtherPatientNames EthnicGroup PatientComments""",
    Level.STUDY: """StudyInstanceUID StudyDate StudyTime TimezoneOffsetFromUTC ReferringPhysicianName StudyID
        AccessionNumber StudyDescription PhysiciansOfRecord NameOfPhysiciansReadingStudy AdmittingDiagnosesDescription
        PatientAge PatientSize PatientWeight Occupation AdditionalPatientHistory""",
    Level.SERIES: """Modality SeriesInstanceUID SeriesNumber Laterality SeriesDate SeriesTime PerformingPhysicianName
        ProtocolName SeriesDescription OperatorsName BodyPartExamined PatientPosition FrameOfReferenceUID""",
}
# Attributes of type 2 of those modules.
EMPTY = """PatientName PatientBirthDate PatientSex ReferringPhysicianName StudyID AccessionNumber SeriesNumber
    InstanceNumber"""
# What a request may give although the object has it already.
FREE = {
    tag_of(name)
    for name in (
        "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime", "InstanceCreationDate",
        "InstanceCreationTime", "SeriesDate", "SeriesTime", "StudyDate", "StudyTime",
    )
}  # fmt: skip
PATIENT_ID = tag_of("PatientID")

Attributes = dict[str, Element]


class CreateDicom(OrthancView):
    """`Tags`, and `Content` as a data URI (PNG, JPEG, PDF) or a list of them, which becomes a series."""

    needs = {"POST": "studies.write"}

    def post(self, request: Any) -> HttpResponse:
        given = json_object(request, raw_body(request, most=LARGEST_REQUEST))
        if "Tags" not in given:  # as before Orthanc 0.9.4
            content = given.pop("PixelData", None)
            given = {"Tags": given, **({"Content": content} if content is not None else {})}
        self._force = field(given, "Force", bool, False)
        self._binary = field(given, "InterpretBinaryTags", bool, True)
        self._creator = field(given, "PrivateCreator", str, "")
        base = self._base(given)
        content = given.get("Content")
        several = isinstance(content, list) and bool(content)
        objects = self._slices(base, content or []) if several else self._single(base, content)
        stored = self._store(objects)
        (first, *_) = stored
        self.record(
            "create", AuditAction.CREATE, study_instance_uid=first.study_instance_uid, detail={"instances": len(stored)}
        )
        return answer(self._series(first) if several else self._instance(first))

    # Attributes

    def _base(self, given: dict[str, Any]) -> Attributes:
        found, level = self._inherited(given)
        with timezone.override(Site.objects.get(pk=self.here.site_id).time_zone):
            now = timezone.localtime()
        named = ["Acquisition", "Content", "InstanceCreation"]
        named += ["Series"] if level is not Level.SERIES else []
        named += ["Study"] if level in {None, Level.PATIENT} else []
        for name in named:
            found[tag_of(f"{name}Date")] = {"vr": "DA", "Value": [f"{now:%Y%m%d}"]}
            found[tag_of(f"{name}Time")] = {"vr": "TM", "Value": [f"{now:%H%M%S}"]}
        for name in ("StudyInstanceUID", "SeriesInstanceUID"):
            found.setdefault(tag_of(name), {"vr": "UI", "Value": [new_uid()]})
        self._inject(found, field(given, "Tags", dict))
        found.setdefault(PATIENT_ID, {"vr": "LO", "Value": [str(uuid.uuid4())]})
        for name in EMPTY.split():
            found.setdefault(tag_of(name), element_of(tag_of(name), ""))
        return found

    def _inherited(self, given: dict[str, Any]) -> tuple[Attributes, Level | None]:
        """What the siblings below `Parent` say of all that stands above the new object."""
        if "Parent" not in given:
            return {}, None
        try:
            level, row = find_any(self.here, field(given, "Parent", str))
        except NotFound as error:
            raise InvalidValue("Parent names no resource, or none that you may see.", field="Parent") from error
        if level is Level.INSTANCE:
            raise InvalidValue("Parent is a patient, study or series, no object.", field="Parent")
        sibling = attributes_to_change(location=location_of(self.here, object_of(self.here, level, row)))
        wanted = " ".join(MODULES[each] for each in Level if each.depth <= level.depth)
        tags = {tag_of(name) for name in wanted.split()}
        return {tag: element for tag, element in sibling.items() if tag in tags}, level

    def _inject(self, found: Attributes, tags: dict[str, Any]) -> None:
        for name, value in tags.items():
            tag = tag_of(name)
            if not tag:
                raise InvalidValue(f"Unknown DICOM tag: {name[:64]}", field="Tags")
            if tag >= PIXEL_DATA[:6]:
                raise InvalidValue('Use "Content" to inject an image into a new DICOM instance', field="Tags")
            fixed = tag in found or tag == tag_of("SOPInstanceUID")
            if fixed and tag not in FREE and not self._force:
                raise InvalidValue(
                    f"Trying to override a value inherited from a parent module: {name[:64]}", field="Tags"
                )
            if tag != "00080005":  # texts are written in UTF-8 in any case
                found[tag] = element_of(tag, value, creator=self._creator, binary=self._binary)
        found.update(with_creators(found, self._creator))

    # Content

    def _single(self, base: Attributes, content: Any) -> Iterator[tuple[Attributes, bytes]]:
        if content is None or content == []:
            if "00080016" not in base:
                raise InvalidValue("Without Content, Tags must name the SOPClassUID.", field="Content")
            yield self._named(base), b""
        else:
            yield self._with_content(base, content)

    def _slices(self, base: Attributes, content: list[Any]) -> Iterator[tuple[Attributes, bytes]]:
        if len(content) > MOST_OBJECTS:
            raise InvalidValue(f"Content may have {MOST_OBJECTS} items at most.", field="Content")
        base["00201002"] = {"vr": "IS", "Value": [str(len(content))]}
        base["00200105"] = {"vr": "IS", "Value": ["1"]}
        for number, item in enumerate(content, 1):
            own = dict(base)
            if isinstance(item, dict):
                self._inject(own, field(item, "Tags", dict, {}))
                item = item.get("Content")
            own["00200013"] = {"vr": "IS", "Value": [str(number)]}
            own["00541330"] = {"vr": "US", "Value": [number]}
            yield self._with_content(own, item)

    def _with_content(self, base: Attributes, content: Any) -> tuple[Attributes, bytes]:
        if not isinstance(content, str) or not DATA_URI.match(content):
            raise InvalidValue("Content must be a data URI in base64, or a list of them.", field="Content")
        kind = content[5:].partition(";")[0].lower()
        try:
            body = base64.b64decode(content.partition(",")[2], validate=True)
        except binascii.Error as error:
            raise InvalidValue("The data URI of Content is not in base64.", field="Content") from error
        if kind == "application/pdf":
            return self._document(base, body), b""
        if kind in {"image/png", "image/jpeg", "image/jpg"}:
            return self._picture(base, body)
        raise NotDone(f"Unsupported MIME type for the content of a new DICOM file: {kind[:64]}")

    def _document(self, base: Attributes, body: bytes) -> Attributes:
        if not body.startswith(b"%PDF-"):
            raise InvalidValue("Content is no PDF.", field="Content")
        ours: Attributes = {
            "00080016": {"vr": "UI", "Value": [str(EncapsulatedPDFStorage)]},
            "00080060": {"vr": "CS", "Value": ["OT"]},
            "00080064": {"vr": "CS", "Value": ["WSD"]},
            "00280301": {"vr": "CS", "Value": ["YES"]},
            "00420010": {"vr": "ST"},
            "0040A043": {"vr": "SQ"},
            "00420012": {"vr": "LO", "Value": ["application/pdf"]},
        }
        body += b"\0" * (len(body) % 2)
        document: Element = {"vr": "OB", "InlineBinary": base64.b64encode(body).decode("ascii")}
        return self._named({**ours, **base, "00420011": document})

    def _picture(self, base: Attributes, body: bytes) -> tuple[Attributes, bytes]:
        rows, columns, samples, bits, pixels = decoded(body)
        numbers = {
            "00280002": samples, "00280010": rows, "00280011": columns, "00280100": bits, "00280101": bits,
            "00280102": bits - 1, "00280103": 0, **({"00280006": 0} if samples > 1 else {}),
        }  # fmt: skip
        image = {tag: {"vr": "US", "Value": [value]} for tag, value in numbers.items()}
        image["00280004"] = {"vr": "CS", "Value": ["RGB" if samples > 1 else "MONOCHROME2"]}
        ours = {
            "00080016": {"vr": "UI", "Value": [str(SecondaryCaptureImageStorage)]},
            "00080060": {"vr": "CS", "Value": ["OT"]},
            "00080064": {"vr": "CS", "Value": ["WSD"]},
        }
        vr = "OW" if bits > 8 else "OB"
        return self._named({**ours, **base, **image, PIXEL_DATA: {"vr": vr, "BulkDataURI": "pixels"}}), pixels

    def _named(self, attributes: Attributes) -> Attributes:
        """With a UID of its own, unless the request gives one."""
        return {"00080018": {"vr": "UI", "Value": [new_uid()]}, **attributes}

    # Storing

    def _store(self, objects: Iterator[tuple[Attributes, bytes]]) -> list[Stored]:
        """All of them or, where one cannot be made, none. Raises Conflict for what the archive did not take."""
        source = Source.of_site(Site.objects.get(pk=self.here.site_id))
        received: list[Received] = []
        try:
            for attributes, pixels in objects:
                received.append(_received(source, attributes, pixels))
        except BaseException:
            for each in received:
                each.discard()
            raise
        stored = store_instances(received=received)
        failed = [each for each in stored if each.outcome in {StoreOutcome.HELD, StoreOutcome.REFUSED}]
        if failed:
            raise Conflict(f"{len(failed)} of {len(stored)} objects contradict what is stored: {failed[0].reason}")
        return stored

    def _instance(self, stored: Stored) -> dict[str, Any]:
        told = {"sop_instance_uid": stored.sop_instance_uid, "outcome": stored.outcome.value, "reason": ""}
        (found,) = entries_of(self.here, [told])
        return found

    def _series(self, stored: Stored) -> dict[str, Any]:
        row = rows_of(self.here, Level.SERIES).get(series_instance_uid=stored.series_instance_uid)
        name = series_identifier(row)
        return {"ID": name, "Path": f"/series/{name}", "Status": "Success"}


def decoded(body: bytes) -> tuple[int, int, int, int, bytes]:
    """Rows, columns, samples, bits of a sample, and little endian pixels, rows from above. Raises InvalidValue."""
    try:
        with Image.open(io.BytesIO(body), formats=["PNG", "JPEG"]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise TooLarge(f"A picture may have {MOST_PIXELS} pixels at most.")
            if image.mode.startswith("I;16") or image.mode == "I":
                pixels = image.convert("I;16").tobytes()
                return image.height, image.width, 1, 16, pixels
            is_grey = image.mode in {"1", "L", "LA"}
            pixels = image.convert("L" if is_grey else "RGB").tobytes()
            return image.height, image.width, 1 if is_grey else 3, 8, pixels
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidValue("Content is no picture that can be read.", field="Content") from error


def _received(source: Source, attributes: Attributes, pixels: bytes) -> Received:
    value = BulkValue(len(pixels), lambda: iter([pixels]))
    with receive(source=source, transfer_syntax_uid=str(ExplicitVRLittleEndian)) as incoming:
        for block in encoded(attributes, bulk=lambda _: value):
            incoming.write(block)
        return incoming.finish()
