"""E-mails about critical results: that there is one, where it is; never what it is, nor whose.

A mail is a job. One that was given to the mail server in the moment in which its worker died goes out twice, under one
Message-ID; none is lost. A mail server that is away holds nothing up.
"""

import hashlib
import smtplib
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.mail import EmailMessage
from django.urls import reverse
from django.utils import formats, timezone, translation
from django.utils.translation import gettext as _

from radiology.errors import NotDone, Unreachable
from radiology.models import CriticalChannel, CriticalEventKind, CriticalResult, CriticalState, Job, JobPriority, User
from radiology.services import jobs
from radiology.services.critical_log import note
from radiology.services.jobs import handles

KIND = "radiology.mail_critical_result"
MAX_ATTEMPTS = 30


def enqueue_mail(
    result: CriticalResult, what: CriticalEventKind, *, user: User | None = None, address: str = ""
) -> None:
    """Tell one person, or one address, by mail: once for each step of the result."""
    whom = f"user {user.pk}" if user else address
    digest = hashlib.sha256(whom.encode()).hexdigest()[:24]
    jobs.enqueue(
        kind=KIND,
        arguments={"result": result.pk, "what": what, "user": user.pk if user else None, "address": address},
        idempotency_key=f"critical:{result.pk}:mail:{what}:{result.level}:{digest}",
        max_attempts=MAX_ATTEMPTS,
        priority=JobPriority.FIRST,
        site=result.site,
    )


@handles(KIND)
def send_mail(job: Job) -> None:
    """Send it, unless meanwhile there is nothing to tell any more. Raises Unreachable to be tried again."""
    result = CriticalResult.objects.select_related("site", "requested_procedure_ref__order_ref").get(
        pk=job.arguments["result"]
    )
    what = CriticalEventKind(job.arguments["what"])
    is_of_use = CriticalState.WITHDRAWN if what == CriticalEventKind.WITHDRAWN else CriticalState.OPEN
    if result.state != is_of_use:
        return
    user = User.objects.filter(pk=job.arguments["user"]).first() if job.arguments["user"] else None
    address = user.email if user else job.arguments["address"]
    told: dict[str, Any] = {"user": user, "name": "" if user else address, "channel": CriticalChannel.MAIL}
    if not has_mail_server():
        note(result, CriticalEventKind.FAILED, detail=_("No mail server is configured."), **told)
        return
    if not address or (user and not user.is_active):
        note(result, CriticalEventKind.FAILED, detail=_("The account has no e-mail address in use."), **told)
        return
    try:
        _message(result, what, user, address, job).send()
    except (OSError, smtplib.SMTPException) as error:
        is_final = _is_refusal(error)
        if is_final or job.attempts in {1, job.max_attempts}:
            note(result, CriticalEventKind.FAILED, detail=_why(error), **told)
        raise (NotDone if is_final else Unreachable)(_why(error)) from error
    note(result, CriticalEventKind.NOTIFIED, **told)


def has_mail_server() -> bool:
    return not settings.EMAIL_BACKEND.endswith("dummy.EmailBackend")


def _message(
    result: CriticalResult, what: CriticalEventKind, user: User | None, address: str, job: Job
) -> EmailMessage:
    with translation.override((user.language if user else "") or settings.LANGUAGE_CODE):
        values = {
            "number": result.requested_procedure_ref.order_ref.accession_number,
            "category": result.get_category_display(),
            "time": local_time(result),
        }
        if what == CriticalEventKind.WITHDRAWN:
            subject = _("Critical result withdrawn: %(number)s") % values
            text = _("The critical result of examination %(number)s of %(time)s was withdrawn.") % values
        elif what == CriticalEventKind.ESCALATED:
            subject = _("Critical result not acknowledged yet: %(number)s") % values
            text = _(
                "A critical result (%(category)s) of examination %(number)s has been waiting since %(time)s. Nobody "
                "has said yet that they know."
            )
            text %= values
        else:
            subject = _("Critical result: %(number)s") % values
            text = _("There is a critical result (%(category)s) of examination %(number)s, since %(time)s.") % values
        lines = [text, _("Read it in Sinar, and say there that you know.")]
        if settings.SINAR_PUBLIC_URL:
            lines.append(settings.SINAR_PUBLIC_URL.rstrip("/") + reverse("critical-result", args=[result.public_id]))
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip(">") or "localhost"
    return EmailMessage(
        subject,
        "\n\n".join(lines) + "\n",
        to=[address],
        headers={"Message-ID": f"<{job.public_id}@{domain}>", "X-Priority": "1", "Auto-Submitted": "auto-generated"},
    )


def local_time(result: CriticalResult) -> str:
    """When it was raised, by the clock of the site, with the name of the zone."""
    there = timezone.localtime(result.raised_at, ZoneInfo(result.site.time_zone))
    return f"{formats.date_format(there, 'j M Y H:i')} {there:%Z}"


def _is_refusal(error: Exception) -> bool:
    """Whether the server said no for good (5xx), and not that it cannot now (RFC 5321 4.2.1)."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _text in error.recipients.values())
    return isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= 500


def _why(error: Exception) -> str:
    """In words, without what the server said: it may quote the mail."""
    if _is_refusal(error):
        return _("The mail server refused it.")
    return _("The mail server does not take it now (%(error)s).") % {"error": type(error).__name__}
