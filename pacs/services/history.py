"""Who did what with a study: the audit trail in words, and what can be taken back."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from pydicom.datadict import dictionary_description

from pacs.models import Correction, CorrectionKind, HeldChoice, Removal, RemovalCode, Study, TransferDirection
from pacs.services.attributes import BY_KEYWORD
from radiology.dicom import PersonName
from radiology.errors import NotFound
from radiology.models import AuditAction, AuditEvent

PAGE = 20
MOST_REMOVALS = 100
READING = "radiology.view_auditevent"

EVENTS: dict[str, Any] = {
    "dicom.store": gettext_lazy("Images received by DICOM"),
    "dicomweb.store": gettext_lazy("Images received by DICOMweb"),
    "api.store": gettext_lazy("Images received by the API"),
    "import": gettext_lazy("Images imported"),
    "dicom.move": gettext_lazy("Sent on request (C-MOVE)"),
    "dicom.get": gettext_lazy("Retrieved (C-GET)"),
    "dicomweb.retrieve": gettext_lazy("Retrieved by DICOMweb"),
    "api.retrieve": gettext_lazy("Retrieved by the API"),
    "api.read": gettext_lazy("Read by the API"),
    "api.archive": gettext_lazy("Downloaded as ZIP"),
    "study.downloaded": gettext_lazy("Downloaded as ZIP"),
    "study.opened": gettext_lazy("Opened in the viewer"),
    "orthanc.store": gettext_lazy("Images received by the Orthanc API"),
    "orthanc.store-straight": gettext_lazy("Sent on without being stored"),
    "study.compressed": gettext_lazy("Compressed without loss"),
    "study.hidden": gettext_lazy("Images hidden"),
    "study.deleted": gettext_lazy("Study deleted"),
    "study.images.deleted": gettext_lazy("A part of the study deleted"),
    "study.purged": gettext_lazy("Files removed for good"),
    "study.rejected": gettext_lazy("Images rejected by a note that arrived"),
    "study.rejection.made": gettext_lazy("Images rejected"),
    "study.relocated": gettext_lazy("Files moved to another volume"),
    "study.restored": gettext_lazy("Restored"),
    "study.corrected": gettext_lazy("Corrected"),
    "study.correction.undone": gettext_lazy("Correction taken back"),
    "transfer.begun": gettext_lazy("Transfer begun"),
    "transfer.finished": gettext_lazy("Transfer finished"),
    "transfer.cancelled": gettext_lazy("Transfer cancelled"),
    "transfer.paused": gettext_lazy("Transfer paused"),
    "transfer.resumed": gettext_lazy("Transfer resumed"),
    "transfer.retried": gettext_lazy("Transfer tried again"),
    "token.asked": gettext_lazy("Token handed out"),
    "token.used": gettext_lazy("Opened by token"),
    "token.revoked": gettext_lazy("Token revoked"),
    "link.made": gettext_lazy("Link made"),
    "link.used": gettext_lazy("Opened by a link"),
    "held.decided": gettext_lazy("Conflict decided"),
    "held.undone": gettext_lazy("Decision about a conflict taken back"),
    "admin": gettext_lazy("Changed in the administration"),
}
# Of all the other addresses of that door.
ORTHANC = "orthanc."
READ_BY_ORTHANC, DONE_BY_ORTHANC = gettext_lazy("Read by the Orthanc API"), gettext_lazy("Asked for by the Orthanc API")


@dataclass(frozen=True)
class Entry:
    """One line of the history. `correction` is there where it can be taken back now."""

    at: datetime
    by: str
    what: str
    details: tuple[str, ...]
    reason: str
    failed: bool
    correction: Correction | None
    count: int = 1

    def repeats(self, other: "Entry") -> bool:
        """Whether `other` is the same again, on the same day: a study that arrives over many associations."""
        plain = not (self.details or self.reason or self.correction or other.details or other.correction)
        same = (self.by, self.what, self.failed) == (other.by, other.what, other.failed)
        return plain and same and timezone.localdate(self.at) == timezone.localdate(other.at)


@dataclass(frozen=True)
class HistoryPage:
    entries: list[Entry]
    older: int | None


def history(*, who: Any, study: Study, before: int | None = None, size: int = PAGE) -> HistoryPage:
    """What happened to a study that `who` sees, newest first. Who only looked is told to those who audit."""
    found = AuditEvent.objects.filter(study_instance_uid=study.study_instance_uid, site=study.site_id)
    if not _may_audit(who):
        found = found.filter(~Q(action=AuditAction.READ) | Q(event__startswith="transfer."))
    if before is not None:
        found = found.filter(pk__lt=before)
    events = list(found.select_related("user").order_by("-pk")[: size + 1])
    ids = {event.detail.get("correction") for event in events} - {None}
    corrections = {str(each.public_id): each for each in corrections_of(study).filter(public_id__in=ids)}
    latest = latest_correction(study) if who.may("studies.correct") else None
    removals = {
        str(each.public_id): each
        for each in Removal.objects.filter(public_id__in={event.detail.get("removal") for event in events} - {None})
    }
    entries: list[Entry] = []
    for event in events[:size]:
        entry = _entry(event, corrections, removals, latest)
        if entry is None:
            continue
        if entries and entries[-1].repeats(entry):
            entries[-1] = replace(entries[-1], count=entries[-1].count + 1)
        else:
            entries.append(entry)
    return HistoryPage(entries, events[size - 1].pk if len(events) > size else None)


def corrections_of(study: Study) -> QuerySet[Correction]:
    """The corrections that a study is part of."""
    involved = Q(study_ref=study) | Q(other_study_ref=study)
    return Correction.objects.filter(involved).select_related("study_ref", "other_study_ref")


def latest_correction(study: Study) -> Correction | None:
    """The correction that may be taken back: the latest that stands."""
    return corrections_of(study).filter(undone_at=None).order_by("-pk").first()


def removals_of(study: Study) -> list[Removal]:
    """What is removed of a study and could come back, newest first, with `count` objects each."""
    found = Removal.objects.filter(study_ref=study, restored_at=None).exclude(code=RemovalCode.DELETED)
    objects = ~Q(instances__sop_instance_uid=F("note_sop_instance_uid"))
    return list(found.annotate(count=Count("instances", filter=objects)).order_by("-pk")[:MOST_REMOVALS])


def correction_of(*, who: Any, public_id: uuid.UUID) -> Correction:
    """The correction of that id at the site of `who`. Raises NotFound."""
    found = Correction.objects.select_related("study_ref").filter(public_id=public_id)
    if not who.sees_every_site:
        found = found.filter(site_id=who.site_id)
    correction = found.first() if who.may("studies.correct") else None
    if correction is None:
        raise NotFound(_("There is no such correction."))
    return correction


def in_words(correction: Correction) -> list[str]:
    """What a correction changed, a line each."""
    after: Mapping[str, Any] = correction.after
    if correction.kind == CorrectionKind.PATIENT:
        return [_("Patient: %(name)s, MRN %(number)s") % {
            "name": PersonName(after.get("PatientName", "")).display or "—", "number": after.get("PatientID") or "—",
        }]  # fmt: skip
    if correction.kind in {CorrectionKind.SPLIT, CorrectionKind.MERGE}:
        count = len(after.get("series", []))
        words = ngettext("%(count)d series moved to", "%(count)d series moved to", count)
        if correction.kind == CorrectionKind.MERGE:
            words = ngettext("%(count)d series came from", "%(count)d series came from", count)
        return [f"{words % {'count': count}} {after.get('StudyInstanceUID', '')}"]
    before = _values_before(correction)
    return [
        f"{_named(keyword)}: {_shown(keyword, before.get(keyword))} → {_shown(keyword, value)}"
        for keyword, value in after.items()
        if keyword in BY_KEYWORD
    ]


def _values_before(correction: Correction) -> dict[str, Any]:
    rows = [correction.before.get("study", {}), *correction.before.get("series", {}).values()]
    columns = {name: value for row in rows for name, value in row.get("columns", {}).items()}
    return {keyword: columns[each.column] for keyword, each in BY_KEYWORD.items() if each.column in columns}


def _named(keyword: str) -> str:
    """The attribute's name in PS3.6."""
    return dictionary_description(BY_KEYWORD[keyword].tag)


def _shown(keyword: str, value: Any) -> str:
    if keyword == "ReferringPhysicianName":
        value = PersonName(value or "").display
    return "—" if value in {None, ""} else str(value)


def _entry(
    event: AuditEvent,
    corrections: Mapping[str, Correction],
    removals: Mapping[str, Removal],
    latest: Correction | None,
) -> Entry | None:
    """The line of one event; None for one that another line tells already."""
    detail: Mapping[str, Any] = event.detail
    correction = corrections.get(detail.get("correction", ""))
    removal = removals.get(detail.get("removal", ""))
    details: list[str] = []
    reason = ""
    if correction is not None:
        details = in_words(correction) if event.event == "study.corrected" else []
        reason = correction.reason if event.event == "study.corrected" else ""
    if removal is not None and removal.user_id is not None and event.event == "study.rejected":
        return None  # the note was made here, which is told
    if removal is not None:
        details = [str(RemovalCode(removal.code).label)]
        reason = removal.reason
    if "choice" in detail:
        details = [
            f"{_label(HeldChoice, detail['choice'])} · "
            + ngettext("%(count)d image", "%(count)d images", detail.get("objects", 0))
            % {"count": detail.get("objects", 0)}
        ]
    if event.event.startswith("transfer.") and detail.get("node"):
        arrow = "→" if detail.get("direction") == TransferDirection.SEND else "←"
        counts = detail.get("instances", {})
        done = counts.get("completed", 0) + counts.get("warned", 0)
        words = _("%(done)d of %(total)d images") % {"done": done, "total": counts.get("total", 0)}
        details = [
            f"{arrow} {detail['node']} · {words}" if event.event != "transfer.begun" else f"{arrow} {detail['node']}"
        ]
    stands = event.event == "study.corrected" and correction is not None and correction == latest
    return Entry(
        at=event.at,
        by=event.user.get_full_name() or event.agent if event.user else event.agent,
        what=_what(event),
        details=tuple(details),
        reason=reason,
        failed=not event.succeeded,
        correction=correction if stands else None,
    )


def _what(event: AuditEvent) -> str:
    known = EVENTS.get(event.event)
    if known is None and event.event.startswith(ORTHANC):
        known = READ_BY_ORTHANC if event.action == AuditAction.READ else DONE_BY_ORTHANC
    return str(known or event.event)


def _label(choices: Callable[[str], Any], value: str) -> str:
    try:
        return str(choices(value).label)
    except ValueError:
        return value


def _may_audit(who: Any) -> bool:
    return bool(getattr(who, "is_superuser", False) or (hasattr(who, "has_perm") and who.has_perm(READING)))
