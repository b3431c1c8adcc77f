import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from pacs.dimse.backlog import BACKLOG
from pacs.dimse.filer import Filer
from pacs.dimse.services import compose
from pacs.dimse.worker import STOP_SECONDS, Worker
from radiology.daemon import CannotListen, Server, listen


class Command(BaseCommand):
    help = "Answer DICOM associations (C-ECHO, C-STORE, C-FIND, C-MOVE, C-GET) on every port of SINAR_DICOM_PORT."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        # Before forking: a module that is missing or wrong is then seen at once, and its memory is shared.
        services = compose(settings.DIMSE["SERVICES"])
        try:
            listeners = listen(settings.SINAR_BIND, settings.SINAR_DICOM_PORTS, setting="SINAR_DICOM_PORT")
        except CannotListen as error:
            raise CommandError(str(error)) from None

        calls, BACKLOG.filer = os.pipe()
        os.set_blocking(BACKLOG.filer, False)

        def work() -> None:
            Worker(listeners, services).run()

        def file() -> None:
            for listener in listeners:
                listener.close()
            Filer(calls).run()

        works = [work] * settings.DIMSE["WORKERS"]
        Server("dimse", listeners, works, helper=file, stop_seconds=STOP_SECONDS).run()
