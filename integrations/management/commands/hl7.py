from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from integrations.hl7.listener import CannotListen, Listener, listen


class Command(BaseCommand):
    help = "Answer HL7 v2 messages (ADT and orders) over MLLP on SINAR_HL7_PORT."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            listener = listen(settings.SINAR_BIND, settings.SINAR_HL7_PORT)
        except CannotListen as error:
            raise CommandError(str(error)) from None
        Listener(listener).run()
