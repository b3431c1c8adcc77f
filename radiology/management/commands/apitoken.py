from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from radiology.errors import RadiologyError
from radiology.models import Scope, Site
from radiology.services.access import issue_token, revoke_tokens_of

DEFAULT_SCOPES = [Scope.STUDIES_READ.value, Scope.STUDIES_WRITE.value]


class Command(BaseCommand):
    help = "Makes a token for a program and prints it, this once and nothing else."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the program that will use it")
        parser.add_argument("--scope", action="append", choices=Scope.values, help="repeat it for several")
        parser.add_argument("--site", default="", metavar="CODE", help="the site that it sees")
        parser.add_argument("--days", type=int, help="how long it is valid; without it, until it is revoked")
        parser.add_argument("--revoke", action="store_true", help="end all tokens of the program instead")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["revoke"]:
                count = revoke_tokens_of(name=options["name"])
                self.stderr.write(f"{count} revoked.")
                return
            _, text = issue_token(
                name=options["name"],
                scopes=options["scope"] or DEFAULT_SCOPES,
                site=_site(options["site"]),
                expires_at=_expiry(options["days"]),
            )
        except RadiologyError as error:
            raise CommandError(error.message) from error
        self.stdout.write(text)


def _site(code: str) -> Site | None:
    if not code:
        return None
    site = Site.objects.filter(code=code).first()
    if site is None:
        known = ", ".join(Site.objects.values_list("code", flat=True))
        raise CommandError(f"There is no site {code}. There are: {known}.")
    return site


def _expiry(days: int | None) -> Any:
    if days is None:
        return None
    if not 0 < days <= 36500:
        raise CommandError("--days must be from 1 to 36500.")
    return timezone.now() + timedelta(days=days)
