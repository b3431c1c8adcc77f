"""Whether this machine can go on receiving, in sentences."""

import shutil
import socket
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from pacs.models import Verification
from pacs.services.filing import overdue
from radiology.models import Job, JobState

ANSWERS_WITHIN = 0.3
LATE = timedelta(minutes=2)
UNFILED = timedelta(seconds=30)
LOW_SPACE = 0.1


@dataclass(frozen=True)
class Sign:
    """One thing that was looked at. `sentence` says what is wrong and what to do, or that it is well."""

    well: bool
    sentence: str


def signs() -> list[Sign]:
    """Disk, DICOM port and jobs; within a second."""
    return [_space(), *(_dicom(int(port)) for port in settings.SINAR_DICOM_PORTS), *_unfiled(), _jobs(), *_verified()]


def _space() -> Sign:
    usage = shutil.disk_usage(settings.SINAR_DATA)
    free = {"free": round(usage.free / 1024**3), "percent": round(100 * usage.free / usage.total)}
    if usage.free < LOW_SPACE * usage.total:
        return Sign(False, _("%(free)d GB free (%(percent)d %%): make room before images are refused.") % free)
    return Sign(True, _("%(free)d GB free (%(percent)d %%).") % free)


def _dicom(port: int) -> Sign:
    bound = settings.SINAR_BIND
    host = "127.0.0.1" if bound in {"", "0.0.0.0"} else "::1" if bound == "::" else bound  # noqa: S104
    try:
        with socket.create_connection((host, port), timeout=ANSWERS_WITHIN):
            return Sign(True, _("DICOM answers on port %(port)d.") % {"port": port})
    except OSError:
        sentence = _("Nothing answers on the DICOM port %(port)d: is the process “dimse” running?")
        return Sign(False, sentence % {"port": port})


def _unfiled() -> list[Sign]:
    """Nothing as long as what was acknowledged is filed at once."""
    count = overdue(seconds=UNFILED.total_seconds())
    if not count:
        return []
    sentence = ngettext(
        "%(count)d image is safe on disk but not filed: is the process “dimse” running, and what does its log say?",
        "%(count)d images are safe on disk but not filed: is the process “dimse” running, and what does its log say?",
        count,
    )
    return [Sign(False, sentence % {"count": count})]


def _jobs() -> Sign:
    late = Job.objects.filter(state=JobState.PENDING, next_attempt_at__lt=timezone.now() - LATE)
    if late.exists():
        return Sign(False, _("Jobs have been waiting for minutes: are the processes “worker” and “beat” running?"))
    return Sign(True, _("No job is late."))


def _verified() -> list[Sign]:
    """What the last comparison of the index with the files found; nothing when there was none."""
    last = Verification.objects.exclude(finished_at=None).order_by("-finished_at").first()
    if last is None or last.finished_at is None:
        return []
    left = last.problems - last.repaired
    day = {"day": date_format(timezone.localtime(last.finished_at), "DATE_FORMAT"), "count": left}
    if left:
        told = _("The files were compared on %(day)s: %(count)d problems are left, see Verifications in the admin.")
        return [Sign(False, told % day)]
    return [Sign(True, _("The files were compared on %(day)s: all is as it should be.") % day)]
