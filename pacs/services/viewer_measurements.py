"""Measurements that somebody saved in the viewer: the SR that the viewer wrote becomes theirs, and true.

The viewer (OHIF, by dcmjs) writes a Measurement Report (PS3.16 TID 1500) of "unknown^unknown", on a device
"Unspecified", with the patient as its page happened to show them. What a session sends is known to be of who signed
in: so they are its observer, whatever the file says, and patient, study and equipment are what the archive knows.
What is measured stays as it came.

Nothing else is touched: not what comes by a token, by Basic or by C-STORE, and no other object of a session.
"""

import math
import mmap
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from io import BytesIO

from django.utils import timezone
from django.utils.translation import gettext as _
from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pacs.models import Instance, ReportObject, Series, Study
from pacs.services.header import Header, scan
from pacs.services.incoming import Received, Source, receive_part10
from pacs.services.part10 import HEAD_SIZE, IMPLEMENTATION_VERSION_NAME
from pacs.services.report_document import coded, derived_uid, identify, local, part10, person
from pacs.services.sr_content import device_observer, of_study, person_observer, set_evidence, template
from radiology.dicom import fit, is_uid, parse_da, parse_tm
from radiology.errors import CannotUnderstand, NotAllowed, NotFound, TooLarge
from radiology.models import User
from radiology.services.report_versions import name_of

# What the viewer calls itself in the file meta information (0002,0012).
VIEWERS = ("2.25.270695996825855179949881587723571202391.", "2.25.2470123695996825859949881583571202391.")
DOCUMENTS = "1.2.840.10008.5.1.4.1.1.88."
WRITES = frozenset({EnhancedSRStorage, ComprehensiveSRStorage, Comprehensive3DSRStorage})
REPORT = ("126000", "DCM", "Imaging Measurement Report")
CONCEPT_NAME, CODE_VALUE, CONTENT_TEMPLATE, TEMPLATE_IDENTIFIER = 0x0040A043, 0x00080100, 0x0040A504, 0x0040DB00
LARGEST = 16 * 1024 * 1024
# Observation context (PS3.16 TID 1001 to 1008): who observed what of whom. All of it is the archive's to say.
SUBJECT_AND_OBSERVER = range(121005, 121045)
OBSERVER_TOO = ("128774", "128775")
LANGUAGE, TRACKING = "121049", "112039"
# OHIF calls every angle a Cobb angle.
ANGLE = ("1483009", "SCT", "Angle")
UNREADABLE = (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError, OverflowError, OSError)


def saved_by(*, who: User, received: Received, implementation_class_uid: str) -> Received:
    """What a session of somebody brought: measurements of the viewer as theirs, anything else as it is.

    Raises NotAllowed for who may not save measurements, and for a Measurement Report that another program made: it
    may name somebody else, and to change it is not ours. Raises NotFound where its study is not here to see,
    CannotUnderstand, TooLarge.
    """
    if not received.sop_class_uid.startswith(DOCUMENTS) or not _is_measurement_report(received):
        return received
    try:
        return _taken_over(who, received, implementation_class_uid)
    finally:
        received.discard()


def _taken_over(who: User, received: Received, implementation_class_uid: str) -> Received:
    if not who.may("measurements.write"):
        raise NotAllowed(_("You may not save measurements: an administrator gives the right."))
    if not implementation_class_uid.startswith(VIEWERS) or received.sop_class_uid not in WRITES:
        raise NotAllowed(_("A page saves the viewer's measurements only; import others."))
    found = Study.objects.visible_to(who).filter(study_instance_uid=received.study_instance_uid)
    studies = found.select_related("site", "patient_ref").order_by("pk")
    study = min(studies, key=lambda each: each.site_id != who.site_id, default=None)
    if study is None:
        raise NotFound(_("The study of these measurements is not here."))
    written = _read(received)
    try:
        made = part10(_attributed(written, received, study, who))
    except UNREADABLE as error:
        raise CannotUnderstand(_("These measurements cannot be read.")) from error
    with receive_part10(source=Source.of_ourselves(study.site)) as incoming:
        incoming.write(made)
        return incoming.finish()


def _is_measurement_report(received: Received) -> bool:
    """By its template, or by its title where it names no template."""
    with mmap.mmap(received.draft.fileno(), HEAD_SIZE + received.draft.size, access=mmap.ACCESS_READ) as mapped:
        wanted = frozenset({CONCEPT_NAME, CONTENT_TEMPLATE})
        root = scan(mapped, start=HEAD_SIZE, transfer_syntax_uid=received.transfer_syntax_uid, wanted=wanted)
    return "1500" in _texts(root, CONTENT_TEMPLATE, TEMPLATE_IDENTIFIER) or REPORT[0] in _texts(
        root, CONCEPT_NAME, CODE_VALUE
    )


def _texts(root: Header, sequence: int, tag: int) -> list[str]:
    return [each.first(tag) for each in root.items(sequence)]


def _read(received: Received) -> Dataset:
    """The data set as the viewer wrote it, all text decoded; the scan before has seen that it is whole and not deep."""
    if received.size > LARGEST:
        raise TooLarge(_("These are too many measurements for one report."))
    if received.transfer_syntax_uid not in {ImplicitVRLittleEndian, ExplicitVRLittleEndian}:
        raise CannotUnderstand(_("These measurements cannot be read."))
    with mmap.mmap(received.draft.fileno(), HEAD_SIZE + received.draft.size, access=mmap.ACCESS_READ) as mapped:
        body = bytes(mapped[HEAD_SIZE:])
    try:
        written = read_dataset(BytesIO(body), received.transfer_syntax_uid == ImplicitVRLittleEndian, True)
        written.decode()
    except UNREADABLE as error:
        raise CannotUnderstand(_("These measurements cannot be read.")) from error
    return written


def _attributed(written: Dataset, received: Received, study: Study, who: User) -> Dataset:
    at = local(_moment(written), study)
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = UID(received.sop_class_uid)
    made.SOPInstanceUID = UID(received.sop_instance_uid)
    made.TimezoneOffsetFromUTC = f"{at:%z}"
    identify(made, study)
    made.Modality = "SR"
    made.SeriesInstanceUID = UID(_series(received, study))
    made.SeriesNumber, made.InstanceNumber = written.get("SeriesNumber") or 3001, written.get("InstanceNumber") or 1
    made.SeriesDescription = fit("LO", str(written.get("SeriesDescription") or "")) or "Measurements"
    made.SeriesDate = made.ContentDate = made.InstanceCreationDate = f"{at:%Y%m%d}"
    made.SeriesTime = made.ContentTime = made.InstanceCreationTime = f"{at:%H%M%S}"
    made.Manufacturer = made.ManufacturerModelName = "Sinar"
    made.SoftwareVersions = IMPLEMENTATION_VERSION_NAME
    made.InstitutionName = fit("LO", study.site.name)
    made.ReferencedPerformedProcedureStepSequence = []  # type 2
    made.PerformedProcedureCodeSequence = []  # type 2
    made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "FINAL"
    _references(made, written, study)
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = [coded(*REPORT)]
    made.ContentTemplateSequence = [template("1500")]
    if schemes := written.get("CodingSchemeIdentificationSequence"):
        made.CodingSchemeIdentificationSequence = list(schemes)
    content = _mended(written.get("ContentSequence") or [])
    organisation = fit("LO", study.site.name) or study.site.code
    made.ContentSequence = [
        *(each for each in content if _concept(each) == LANGUAGE),
        *person_observer(name=person(name_of(who)), organisation=organisation, user=who),
        *device_observer(study.site),
        *(each for each in content if _concept(each) != LANGUAGE),
    ]
    return made


def _moment(written: Dataset) -> datetime:
    """When it was saved: dcmjs writes Content Date and Time in UTC, and does not say so."""
    day = parse_da(str(written.get("ContentDate") or ""))
    time = parse_tm(str(written.get("ContentTime") or ""))
    return datetime.combine(day, time, UTC) if day and time else timezone.now()


def _series(received: Received, study: Study) -> str:
    """The series that the viewer chose; another one where that holds anything but measurements of this study."""
    uid = received.series_instance_uid
    taken = Series.objects.filter(site=study.site_id, series_instance_uid=uid).first()
    if taken is None or (
        taken.study_ref_id == study.pk
        and taken.modality == "SR"
        and not ReportObject.objects.filter(
            study_ref=study, sop_instance_uid__in=taken.instances.values("sop_instance_uid")
        ).exists()
    ):
        return uid
    return derived_uid("measurements", received.sop_instance_uid)


def _references(made: Dataset, written: Dataset, study: Study) -> None:
    """What was measured, and which measurements these replace: once each, by study and series."""
    measured = sorted(set(_named(written.get("CurrentRequestedProcedureEvidenceSequence") or [])))
    set_evidence(made, study.study_instance_uid, measured)
    former = [each for each in _named(written.get("PredecessorDocumentsSequence") or []) if _is_here(each[3], study)]
    if former:
        documents = [(series, sop_class, instance) for _, series, sop_class, instance in former]
        made.PredecessorDocumentsSequence = [of_study(study.study_instance_uid, sorted(documents))]


def _named(items: Iterable[Dataset]) -> Iterator[tuple[str, str, str, str]]:
    """Study, series, SOP class and SOP instance of each reference; none that is no UID."""
    for study in items:
        for series in study.get("ReferencedSeriesSequence") or []:
            for each in series.get("ReferencedSOPSequence") or []:
                uids = (
                    str(study.get("StudyInstanceUID", "")),
                    str(series.get("SeriesInstanceUID", "")),
                    str(each.get("ReferencedSOPClassUID", "")),
                    str(each.get("ReferencedSOPInstanceUID", "")),
                )
                if all(is_uid(uid) for uid in uids):
                    yield uids


def _is_here(sop_instance_uid: str, study: Study) -> bool:
    return Instance.objects.filter(series_ref__study_ref=study, sop_instance_uid=sop_instance_uid).exists()


def _mended(content: Iterable[Dataset]) -> list[Dataset]:
    """Without any person, without numbers that are none (OHIF writes NaN where an outline holds no pixel), and with
    angles called angles."""
    kept = []
    for each in content:
        if each.get("ValueType") == "PNAME" or _is_context(_concept(each)):
            continue
        if below := each.get("ContentSequence"):
            each.ContentSequence = _mended(below)
            if not each.ContentSequence:
                del each.ContentSequence
        kept.append(each)
    if any(str(each.get("TextValue", "")).endswith(":Angle") for each in kept if _concept(each) == TRACKING):
        for each in kept:
            if each.get("ValueType") == "NUM":
                each.ConceptNameCodeSequence = [coded(*ANGLE)]
    return _without_empty_numbers(kept)


def _without_empty_numbers(content: list[Dataset]) -> list[Dataset]:
    """Those whose value is no number go; where the outline hangs on one, it goes over to a sibling, or the number
    stays and says that it is none (PS3.3 C.18.1, CID 42)."""
    empty = [each for each in content if each.get("ValueType") == "NUM" and not _is_number(each)]
    for each in empty:
        if outline := each.get("ContentSequence"):
            heirs = (other for other in content if other.get("ValueType") == "NUM" and "ContentSequence" not in other)
            heir = next(filter(_is_number, heirs), None)
            if heir is None:
                each.MeasuredValueSequence = []
                each.NumericValueQualifierCodeSequence = [coded("114000", "DCM", "Not a number")]
                continue
            heir.ContentSequence = list(outline)
        content = [other for other in content if other is not each]
    return content


def _is_number(each: Dataset) -> bool:
    values = each.get("MeasuredValueSequence") or []
    try:
        return math.isfinite(float(str(values[0].NumericValue))) if values else False
    except (ValueError, AttributeError):
        return False


def _concept(each: Dataset) -> str:
    """The value of its concept's code, in DCM; else nothing."""
    names = each.get("ConceptNameCodeSequence") or []
    return str(names[0].get("CodeValue", "")) if names and names[0].get("CodingSchemeDesignator") == "DCM" else ""


def _is_context(code: str) -> bool:
    return code in OBSERVER_TOO or (code.isdecimal() and int(code) in SUBJECT_AND_OBSERVER)
