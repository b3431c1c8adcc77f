"""Key images: which images of the archive show what a report says, in which window, with which caption.

They are chosen for the draft and belong, once it is signed, to the version. Which images there are, and how they look,
the archive knows; it lies to the right of us and says so itself (`provides_images`).

Each is kept as `id`, `study`, `series`, `instance` (UIDs), `sop_class`, `frame` (from 1; null where there is but one),
`window` (`center`, `width`, `function` as PS3.18 8.3.5.1.4 names it; null as the object says), `inverted`, `caption`,
`modality`, `study_date`, `series_number`, `instance_number`.
"""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.db import transaction
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from radiology.dicom import clean, is_uid, parse_da
from radiology.errors import Conflict, InvalidValue, NotFound, PreconditionFailed
from radiology.models import Report, ReportOrigin, ReportVersion, RequestedProcedure, User
from radiology.services.report_versions import claim_report_of, newest_version, require_right, save

MOST = 20
LONGEST_CAPTION = 200
FUNCTIONS = ("linear", "linear-exact", "sigmoid")
LARGEST_VALUE = 1e9
KeyImage = Mapping[str, Any]


@dataclass(frozen=True)
class ArchivedImage:
    """An image as the archive knows it now; `frames` is how many it has."""

    study: str
    series: str
    instance: str
    sop_class: str
    modality: str
    study_date: str
    series_number: int | None
    instance_number: int | None
    frames: int


class Archive(Protocol):
    """What the images of reports are asked of."""

    def images(
        self, *, patient: int, site: int | None, instances: Collection[str], who: Any = None
    ) -> dict[str, ArchivedImage]:
        """Of these SOP Instance UIDs the images of this patient that are here, and that `who` may see, if given."""

    def picture(self, *, patient: int, site: int | None, image: KeyImage, side: int, quality: int) -> bytes:
        """A JPEG within a square of `side` pixels. Raises NotFound, NotAcceptable, OutOfResources, CannotUnderstand."""


_archives: list[Archive] = []


def provides_images(archive: Archive) -> None:
    """Called once by whoever keeps the images."""
    _archives[:] = [archive]


@transaction.atomic
def choose_key_images(
    *, procedure: RequestedProcedure, images: Any, version: int, who: Any = None, address: str | None = None
) -> Report:
    """Make `images` the key images of the draft, in their order; of a report that is signed, of its next version.

    Each names one that is chosen already (`id`) or an image of the archive (`instance`, `frame`, `window`, `inverted`),
    and has a `caption`. Raises NotAllowed, InvalidValue, NotFound for an image that is not here or of another patient,
    Conflict for more than MOST, for one that is chosen twice in one window, and as `write_draft` does;
    PreconditionFailed when the report is no longer at `version`.
    """
    require_right(who, "reports.write")
    report = claim_report_of(procedure)
    if report is None:
        if version:
            raise Conflict(_("This report is gone: somebody threw it away."), field="version")
        report = Report(site_id=procedure.order_ref.site_id, requested_procedure_ref=procedure)
    else:
        if report.version != version:
            raise PreconditionFailed(
                _("Somebody else, or another window of yours, changed this report meanwhile."), report=report
            )
        if report.origin != ReportOrigin.HERE:
            raise Conflict(_("This report was written elsewhere: it is changed there."), field="report", report=report)
    chosen = _chosen(report, images, who)
    writer = who if isinstance(who, User) else None
    goes_on = writer is not None and report.draft is not None and report.draft_by_id == writer.pk
    if report.draft is None:
        before = newest_version(report)
        report.draft, report.draft_markup = (before.sections, before.markup) if before else ({}, None)
    report.draft_key_images, report.draft_by = chosen, writer
    save(report, is_new=report.pk is None, who=who, address=address, detail=None if goes_on else {"draft": True})
    return report


def key_images_of(report: Report) -> list[dict[str, Any]]:
    """Of what is being written, else of the version that holds."""
    if report.draft_key_images is not None:
        return list(report.draft_key_images)
    newest = newest_version(report) if report.pk else None
    return list(newest.key_images) if newest else []


def require_here(report: Report, images: Sequence[KeyImage]) -> None:
    """Raises Conflict when one of these was deleted, or turned out to be another patient's."""
    here = located(report, images)
    for number, image in enumerate(images, 1):
        if image["id"] not in here:
            raise Conflict(
                _("Key image %(number)d is no longer in the archive, or not of this patient: take it out.")
                % {"number": number},
                field="key_images",
                report=report,
            )


def located(report: Report, images: Iterable[KeyImage]) -> dict[str, ArchivedImage]:
    """Where they are now, by their ids; without those that are gone, or no longer images of the report's patient."""
    images = list(images)
    here = _here(report, {image["instance"] for image in images})
    return {image["id"]: here[image["instance"]] for image in images if image["instance"] in here}


def find_key_image(report: Report, image: uuid.UUID, *, drafts: bool) -> KeyImage:
    """A key image of any version, or of the draft. Raises NotFound."""
    wanted = str(image)
    found = list(report.draft_key_images or []) if drafts else []
    versions = ReportVersion.objects.filter(report_ref=report, key_images__contains=[{"id": wanted}])
    for images in versions.values_list("key_images", flat=True)[:1]:
        found += images
    for each in found:
        if each["id"] == wanted:
            return dict(each)
    raise NotFound(_("This key image is not here, or not for you to see."), field="image")


def picture_of(report: Report, image: KeyImage, *, side: int, quality: int = 80) -> bytes:
    """A JPEG. Raises NotFound when the image is gone, or another patient's now, and what decoders raise."""
    if not _archives:
        raise NotFound(_("This image is no longer in the archive."), field="image")
    order = report.requested_procedure_ref.order_ref
    return _archives[0].picture(
        patient=order.patient_ref_id, site=report.site_id, image=image, side=side, quality=quality
    )


def place_of(image: KeyImage) -> str:
    """Which image it is, as people look for it: modality and day, series, image, frame."""
    parts = [image["modality"]] if image["modality"] else []
    if day := parse_da(image["study_date"]):
        parts.append(date_format(day, "j M Y"))
    if image["series_number"] is not None:
        parts.append(_("series %(number)d") % {"number": image["series_number"]})
    if image["instance_number"] is not None:
        parts.append(_("image %(number)d") % {"number": image["instance_number"]})
    if image["frame"] is not None:
        parts.append(_("frame %(number)d") % {"number": image["frame"]})
    return ", ".join(parts)


def window_of(image: KeyImage) -> str:
    """Its window as viewers write it; empty where it is shown as the object says."""
    window = image["window"]
    said = f"W {window['width']:g} L {window['center']:g}" if window else ""
    return f"{said} {_('inverted')}".strip() if image["inverted"] else said


def _here(report: Report, instances: Collection[str], who: Any = None) -> dict[str, ArchivedImage]:
    if not instances or not _archives:
        return {}
    patient = report.requested_procedure_ref.order_ref.patient_ref_id
    return _archives[0].images(patient=patient, site=report.site_id, instances=instances, who=who)


def _chosen(report: Report, images: Any, who: Any) -> list[dict[str, Any]]:
    if not isinstance(images, list) or not all(isinstance(each, dict) for each in images):
        raise InvalidValue(_("Key images are a list."), field="key_images")
    if len(images) > MOST:
        raise Conflict(_("A report may have %(most)d key images.") % {"most": MOST}, field="key_images")
    before = {each["id"]: each for each in key_images_of(report)}
    new = [each for each in images if str(each.get("id") or "") not in before]
    if not all(isinstance(each.get("instance"), str) and is_uid(each["instance"]) for each in new):
        raise InvalidValue(_("A key image is named by its SOP Instance UID."), field="key_images")
    here = _here(report, {each["instance"] for each in new}, who)
    chosen, seen = [], set()
    for given in images:
        known = before.get(str(given.get("id") or ""))
        made = dict(known) if known else _new(given, here)
        made["caption"] = _caption(given.get("caption", ""))
        key = same_key(made)
        if key in seen:
            raise Conflict(_("This image is among the key images already, in this window."), field="key_images")
        seen.add(key)
        chosen.append(made)
    return chosen


def same_key(image: KeyImage) -> str:
    """The same for the same picture: image, frame and window."""
    window = image["window"]
    said = f"{window['center']:g} {window['width']:g} {window['function']}" if window else ""
    return f"{image['instance']} {image['frame'] or ''} {said} {image['inverted']}"


def _new(given: Mapping[str, Any], here: Mapping[str, ArchivedImage]) -> dict[str, Any]:
    found = here.get(given["instance"])
    if found is None:
        raise NotFound(
            _("This image is not in the archive, or it is of another patient: it cannot be a key image."),
            field="key_images",
        )
    frame = given.get("frame") or 1
    if isinstance(frame, bool) or not isinstance(frame, int) or not 1 <= frame <= found.frames:
        raise InvalidValue(_("The image has no such frame."), field="key_images")
    return {
        "id": str(uuid.uuid4()),
        "study": found.study,
        "series": found.series,
        "instance": found.instance,
        "sop_class": found.sop_class,
        "frame": frame if found.frames > 1 else None,
        "window": _window(given.get("window")),
        "inverted": given.get("inverted") is True,
        "modality": found.modality,
        "study_date": found.study_date,
        "series_number": found.series_number,
        "instance_number": found.instance_number,
    }


def _window(given: Any) -> dict[str, Any] | None:
    if given is None:
        return None
    wrong = InvalidValue(_("A window has a center, a width above zero and a function."), field="key_images")
    if not isinstance(given, dict) or given.get("function", "linear") not in FUNCTIONS:
        raise wrong
    center: Any = given.get("center")
    width: Any = given.get("width")
    for each in (center, width):
        if isinstance(each, bool) or not isinstance(each, int | float) or not abs(each) < LARGEST_VALUE:
            raise wrong
    if not width > 0:
        raise wrong
    return {"center": _rounded(center), "width": _rounded(width), "function": given.get("function", "linear")}


def _rounded(value: float) -> float:
    """To six digits; whole numbers as such, so that the database gives back what it got."""
    rounded = float(f"{value:.6g}")
    return int(rounded) if rounded.is_integer() else rounded


def _caption(given: Any) -> str:
    if not isinstance(given, str):
        raise InvalidValue(_("This must be a text."), field="key_images")
    said = " ".join(clean(given).split())
    if len(said) > LONGEST_CAPTION:
        raise InvalidValue(_("This may have %(most)d characters.") % {"most": LONGEST_CAPTION}, field="key_images")
    return said
