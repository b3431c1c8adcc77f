"""The second signature: who needs one, who may give it, and what became of it.

A resident's signature makes a report preliminary and leaves a row that waits. A supervisor makes the report final, or
sends it back with a comment; either ends the row. Whoever changes one holds its report's row until the transaction
ends, so of two who co-sign at once the second is told who was first.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import formats, timezone
from django.utils.translation import gettext as _

from radiology.dicom import PersonName, clean
from radiology.errors import Conflict, InvalidValue, NotAllowed, PreconditionFailed
from radiology.models import (
    AuditAction,
    CoSignature,
    CoSignatureState,
    Report,
    ReportOrigin,
    ReportStatus,
    ReportVersion,
    Resident,
    User,
)
from radiology.services.report_versions import claim_report, name_of, record, require_right, save
from radiology.signals import co_signature_changed

LONGEST_COMMENT = 1000


@dataclass(frozen=True)
class Writer:
    """Whose text it was; the name as a PN."""

    user: User | None
    name: str


def is_resident(who: Any) -> bool:
    return isinstance(who, User) and Resident.objects.filter(user=who.pk).exists()


def supervisors_for(who: User) -> tuple[list[User], list[User]]:
    """Who may co-sign at the person's site: their usual supervisors, and everybody else who may; by name."""
    usual = set(User.objects.filter(usual_residents__user=who.pk).values_list("pk", flat=True))
    found = _signers(who.site_id).exclude(pk=who.pk).order_by("last_name", "first_name", "username")[:200]
    rows = list(found)
    return [each for each in rows if each.pk in usual], [each for each in rows if each.pk not in usual]


def supervisor_of(given: Any) -> User | None:
    """Whom a resident chose, by public id. Raises InvalidValue."""
    if not given:
        return None
    try:
        found = User.objects.filter(public_id=uuid.UUID(str(given)), is_active=True).first()
    except ValueError:
        found = None
    if found is None:
        raise InvalidValue(_("There is no such supervisor."), field="supervisor")
    return found


def waiting_of(report: Report) -> CoSignature | None:
    """What waits for a second signature, if the report does."""
    return report.co_signatures.waiting().select_related("resident", "supervisor").first()


def latest_of(report: Report) -> CoSignature | None:
    """The last signature of a resident; of what was written elsewhere there is none."""
    if report.origin != ReportOrigin.HERE:
        return None
    return report.co_signatures.select_related("resident", "supervisor", "decided_by").order_by("-pk").first()


def told_to(who: User) -> QuerySet[CoSignature]:
    """What supervisors changed in a resident's reports, or sent back; the newest first."""
    found = CoSignature.objects.filter(resident=who.pk).exclude(
        state__in=[CoSignatureState.WAITING, CoSignatureState.ENDED]
    )
    changed = found.filter(state=CoSignatureState.COSIGNED, is_changed=True)
    return (changed | found.filter(state=CoSignatureState.RETURNED)).order_by("-pk")


def note_seen(report: Report, who: Any) -> None:
    """The resident has looked at what was changed."""
    if isinstance(who, User):
        told_to(who).filter(report_ref=report, seen_at=None).update(seen_at=timezone.now())


def require_second_signature_given(who: Any) -> None:
    """Raises NotAllowed for a resident, whose word alone is never final."""
    if is_resident(who):
        raise NotAllowed(_("Your reports need a second signature: ask a supervisor to sign this."))


def require_first(report: Report, version: int, who: User) -> None:
    """Tells the second of two who co-sign at once who was first. Raises PreconditionFailed."""
    if report.version == version or not report.is_signed:
        return
    latest = latest_of(report)
    if latest is None or latest.state != CoSignatureState.COSIGNED or latest.decided_at is None:
        return
    if latest.decided_by_id == who.pk:
        return
    facts = {
        "who": PersonName(latest.decided_name).display or _("Somebody"),
        "at": formats.date_format(timezone.localtime(latest.decided_at), "H:i"),
    }
    raise PreconditionFailed(_("%(who)s co-signed this report at %(at)s: it is final.") % facts, report=report)


def status_for(report: Report, status: ReportStatus | None, who: User) -> ReportStatus:
    """What a signature makes of a report. Raises NotAllowed, InvalidValue, Conflict."""
    resident = is_resident(who)
    if status is None:
        status = ReportStatus.PRELIMINARY if resident else ReportStatus.FINAL
    if status not in {ReportStatus.PRELIMINARY, ReportStatus.FINAL}:
        raise InvalidValue(_("A report is signed as preliminary or as final."), field="status")
    if resident and (status == ReportStatus.FINAL or report.is_signed):
        raise NotAllowed(_("Your reports need a second signature: ask a supervisor to sign this."), field="status")
    waiting = waiting_of(report)
    if status == ReportStatus.PRELIMINARY and waiting is not None and not resident:
        raise Conflict(
            _("A resident waits for your signature: sign it as final, or send it back."), field="status", report=report
        )
    return status


def settle(
    report: Report,
    sections: Mapping[str, str],
    status: ReportStatus,
    *,
    key_images: Sequence[Mapping[str, Any]] = (),
    supervisor: User | None,
    who: User,
    address: str | None,
) -> Writer | None:
    """Ask for a second signature, or give it, before the version is published; whose text it was, when given.

    Raises InvalidValue for a supervisor who may not be one.
    """
    waiting = waiting_of(report)
    if is_resident(who):
        if waiting is not None:
            _end(waiting, CoSignatureState.ENDED, who)
        _ask(report, supervisor, who)
        return None
    if supervisor is not None:
        raise InvalidValue(_("Your own signature is enough: there is no supervisor to choose."), field="supervisor")
    waiting = waiting or _sent_back(report)
    if waiting is None or status != ReportStatus.FINAL:
        return None
    if waiting.resident_id == who.pk:
        # Who was a resident then is none any more: one person, one signature.
        _end(waiting, CoSignatureState.ENDED, who)
        return None
    before = ReportVersion.objects.get(report_ref=report, number=waiting.number)
    waiting.final_number = report.number + 1
    waiting.is_changed = dict(sections) != dict(before.sections) or list(key_images) != list(before.key_images)
    _end(waiting, CoSignatureState.COSIGNED, who)
    record(report, who, address, AuditAction.UPDATE, {"cosigned": waiting.number, "changed": waiting.is_changed})
    return Writer(waiting.resident, waiting.resident_name)


def _sent_back(report: Report) -> CoSignature | None:
    """What its resident was to change, when somebody signs it as final without waiting for that."""
    latest = latest_of(report)
    is_back = latest is not None and latest.state == CoSignatureState.RETURNED
    return latest if is_back and report.status == ReportStatus.PRELIMINARY else None


@transaction.atomic
def send_back(*, report: Report, version: int, comment: str, who: User, address: str | None = None) -> CoSignature:
    """Give a report back to its resident, who sees why; what the supervisor began to change is the resident's draft.

    Raises NotAllowed, InvalidValue without a comment, PreconditionFailed, Conflict when nothing waits.
    """
    require_right(who, "reports.sign")
    report = claim_report(report, None)
    require_first(report, version, who)
    report = claim_report(report, version)
    require_second_signature_given(who)
    waiting = waiting_of(report)
    if waiting is None:
        raise Conflict(_("No resident waits for a signature here."), field="report", report=report)
    said = "\n".join(" ".join(line.split()) for line in clean(comment).splitlines()).strip()
    if not said:
        raise InvalidValue(_("Say what the resident should change."), field="comment")
    if len(said) > LONGEST_COMMENT:
        raise InvalidValue(_("The comment may have 1,000 characters."), field="comment")
    if report.draft is not None and report.draft_by_id != waiting.resident_id:
        report.draft_by = waiting.resident
    waiting.comment = said
    _end(waiting, CoSignatureState.RETURNED, who)
    save(report, who=who, address=address, detail={"returned": waiting.number})
    co_signature_changed.send(sender=CoSignature, co_signature=waiting, who=who)
    return waiting


def end_with_report(report: Report, who: Any) -> None:
    """A report that was withdrawn waits for nobody."""
    waiting = waiting_of(report)
    if waiting is not None:
        _end(waiting, CoSignatureState.ENDED, who)


def _ask(report: Report, supervisor: User | None, who: User) -> None:
    if supervisor is not None:
        may = _signers(report.site_id).filter(pk=supervisor.pk).exclude(pk=who.pk).exists()
        if not may:
            raise InvalidValue(
                _("%(who)s may not co-sign reports here.") % {"who": supervisor.shown_name}, field="supervisor"
            )
    made = CoSignature.objects.create(
        site_id=report.site_id,
        report_ref=report,
        number=report.number + 1,
        resident=who,
        resident_name=name_of(who),
        supervisor=supervisor,
    )
    co_signature_changed.send(sender=CoSignature, co_signature=made, who=who)


def _end(waiting: CoSignature, state: CoSignatureState, who: Any) -> None:
    waiting.state, waiting.decided_at = state, timezone.now()
    if isinstance(who, User):
        waiting.decided_by, waiting.decided_name = who, name_of(who)
    waiting.save()


def _signers(site_id: int | None) -> QuerySet[User]:
    """Who signs reports at a site and is no resident."""
    found = User.objects.with_perm(
        "radiology.sign_report", include_superusers=True, backend="django.contrib.auth.backends.ModelBackend"
    )
    return found.filter(is_active=True, site=site_id, resident=None)
