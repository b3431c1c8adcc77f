from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from pacs.dimse.server import CannotListen, Server, listen
from pacs.dimse.services import compose


class Command(BaseCommand):
    help = "Answer DICOM associations (C-ECHO, C-STORE, C-FIND, C-MOVE, C-GET) on every port of SINAR_DICOM_PORT."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        # Before forking: a module that is missing or wrong is then seen at once, and its memory is shared.
        services = compose(settings.DIMSE["SERVICES"])
        try:
            listeners = listen(settings.SINAR_BIND, settings.SINAR_DICOM_PORTS)
        except CannotListen as error:
            raise CommandError(str(error)) from None
        Server(listeners, services, workers=settings.DIMSE["WORKERS"]).run()
