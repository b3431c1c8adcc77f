from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from integrations.sandbox import make_sandbox
from radiology.errors import RadiologyError


class Command(BaseCommand):
    help = (
        "Makes a site to try the interfaces out, with a catalogue, a patient, an order and its images, and a token "
        "that sees this site and no other. Again: the same with one more token."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reset", action="store_true", help="empty it first; tokens go on working")
        parser.add_argument("--url", default="", help="the address of this server, for the line to try")

    def handle(self, *args: Any, reset: bool, url: str, **options: Any) -> None:
        try:
            made = make_sandbox(is_reset=reset)
        except RadiologyError as error:
            raise CommandError(error.message) from error
        here = url.rstrip("/") or f"http://{settings.SINAR_BIND}:{settings.SINAR_HTTP_PORT}"
        number = made.order.accession_number
        self.stdout.write(
            f"Site        {made.site.code}\n"
            f"Patient     {made.patient.patient_id}\n"
            f"Order       {number}\n"
            f"Study       {made.study.study_instance_uid}\n"
            f"Token       {made.token}\n\n"
            f'curl -s -H "Authorization: Bearer {made.token}" "{here}/api/v1/studies?AccessionNumber={number}"'
        )
