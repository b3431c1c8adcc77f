"""`manage.py relocate`: moves the files of studies to another volume."""

import argparse
import logging
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from pacs.models import Study, Volume
from pacs.services.relocation import files_of, relocate_study
from radiology.errors import RadiologyError

SHOWN_EVERY = 0.5


class Command(BaseCommand):
    help = (
        "Move the files of studies to another volume: copied, compared with their checksums, then removed from where "
        "they were. Everything may go on meanwhile. Exit code 1 when some could not be moved."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("studies", nargs="+", metavar="STUDYUID", help="Study Instance UID")
        parser.add_argument("--to", required=True, metavar="VOLUME", help="name of the volume")

    def handle(self, *args: Any, **options: Any) -> None:
        volume = Volume.objects.filter(name=options["to"]).first()
        if volume is None:
            names = ", ".join(Volume.objects.values_list("name", flat=True))
            raise CommandError(_("There is no such volume. There are: %(names)s.") % {"names": names})
        studies = []
        for uid in options["studies"]:
            found = list(Study.objects.filter(study_instance_uid=uid))
            if not found:
                raise CommandError(_("There is no study %(uid)s.") % {"uid": uid})
            studies += found
        failed = 0
        if self.stderr.isatty():  # lines of the log would tear the progress
            logging.getLogger("pacs").setLevel(logging.ERROR)
        for study in studies:
            try:
                failed += self._move(study, volume)
            except RadiologyError as error:
                raise CommandError(error.message) from error
        if failed:
            raise CommandError(_("%(count)d files were not moved.") % {"count": failed})

    def _move(self, study: Study, volume: Volume) -> int:
        _files, total = files_of(study, to=volume)
        shown, moved = time.monotonic(), 0

        def alive(count: int) -> None:
            nonlocal shown, moved
            moved += count
            if self.stderr.isatty() and time.monotonic() - shown > SHOWN_EVERY:
                shown = time.monotonic()
                figures = f"{filesizeformat(moved)} / {filesizeformat(total)}"
                self.stderr.write(f"\r{study.study_instance_uid}: {figures}  ", style_func=str, ending="")

        done = relocate_study(study=study, to=volume, alive=alive)
        if self.stderr.isatty():
            self.stderr.write("")
        told = _("%(uid)s: %(files)d files (%(size)s) moved to %(volume)s.")
        figures = {"files": done.files, "size": filesizeformat(done.bytes), "volume": volume.name}
        self.stdout.write(told % {"uid": study.study_instance_uid, **figures})
        for path, reason in done.failed:
            self.stderr.write(f"{path}: {reason}")
        return len(done.failed)
