import ssl
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from integrations.hl7 import backlog
from integrations.hl7.listener import STOP_SECONDS, Listener, tls_context
from radiology.daemon import CannotListen, Server, listen


class Command(BaseCommand):
    help = "Answer HL7 v2 messages over MLLP, and requests for study tokens, on every port of SINAR_HL7_PORT."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.SINAR_HL7_TLS_PORTS:
            try:
                tls_context(settings.HL7)
            except (OSError, ssl.SSLError) as error:
                raise CommandError(f"SINAR_HL7_TLS_CERTIFICATE or SINAR_HL7_TLS_CA cannot be used: {error}.") from None
        try:
            plain = listen(settings.SINAR_BIND, settings.SINAR_HL7_PORTS, setting="SINAR_HL7_PORT")
            secured = listen(settings.SINAR_BIND, settings.SINAR_HL7_TLS_PORTS, setting="SINAR_HL7_TLS_PORT")
        except CannotListen as error:
            raise CommandError(str(error)) from None

        def answer() -> None:
            Listener(plain, secured).run()

        works = [answer] * settings.HL7["PROCESSES"] + [backlog.run]
        Server("hl7", [*plain, *secured], works, stop_seconds=STOP_SECONDS).run()
