"""Whether a volume does what is asked of it: a small object is written, read back, compared and deleted."""

import os
import shutil
import uuid
from pathlib import Path

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from pacs.models import Volume, VolumeKind
from pacs.services.health import Sign
from pacs.storage import folder_of

SIZE = 4096


def try_volume(*, volume: Volume) -> list[Sign]:
    """What was tried, each in a sentence; the first that fails says what is wrong and is the last."""
    signs = _try_bucket(volume) if volume.kind == VolumeKind.S3 else _try_folder(folder_of(volume))
    if signs[-1].well:
        signs.append(_space(volume))
    return signs


def _try_folder(folder: Path) -> list[Sign]:
    """As drafts are written and published: a file, a second link to it, both synced and removed."""
    content = os.urandom(SIZE)
    probe = folder / "incoming" / f".try-{uuid.uuid4().hex}"
    link = folder / probe.name
    step = _("The folder %(folder)s cannot be made or entered: %(reason)s.")
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        step = _("No file can be written in %(folder)s: %(reason)s.")
        with probe.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        step = _(
            "The file system of %(folder)s gives no second name to a file (hard link), which is needed: %(reason)s."
        )
        os.link(probe, link)
        step = _("What was written in %(folder)s cannot be read: %(reason)s.")
        if link.read_bytes() != content:
            return [Sign(False, _("What was written in %(folder)s came back as other bytes.") % {"folder": folder})]
        step = _("Files cannot be deleted in %(folder)s: %(reason)s.")
        link.unlink()
        probe.unlink()
    except OSError as error:
        return [Sign(False, step % {"folder": folder, "reason": os.strerror(error.errno or 0)})]
    finally:
        for each in (link, probe):
            try:
                each.unlink(missing_ok=True)
            except OSError:
                continue
    return [Sign(True, _("A file was written, read back and deleted in %(folder)s.") % {"folder": folder})]


def _try_bucket(volume: Volume) -> list[Sign]:
    # Only who has such a volume loads what speaks to it: see pacs.storage.backend.
    from pacs.storage.s3_trial import problem_of_bucket

    problem = problem_of_bucket(volume)
    told = _("An object was written, read back, listed and deleted in the bucket %(bucket)s.")
    return [Sign(not problem, problem or told % {"bucket": volume.bucket})]


def _space(volume: Volume) -> Sign:
    folder = folder_of(volume)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    figures = {"folder": folder, "free": filesizeformat(free), "reserve": filesizeformat(volume.reserve)}
    if free < volume.reserve:
        told = _("%(free)s free in %(folder)s, less than the reserve of %(reserve)s: nothing is taken in.")
        return Sign(False, told % figures)
    return Sign(True, _("%(free)s free in %(folder)s; %(reserve)s of it stay free.") % figures)
