"""`manage.py compress`: tells what the rules would save, by a sample."""

import argparse
import os
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from pacs.models import CompressionRule
from pacs.services.compression import sample
from radiology.errors import RadiologyError


class Command(BaseCommand):
    help = (
        "Compress a sample of the images that each rule is for, the newest ones that are old enough, compare them, and "
        "tell what would be saved. Nothing is kept. The rules themselves are carried out in the background once they "
        "are active."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("rules", nargs="*", metavar="RULE", help="names of rules; without any: all")
        parser.add_argument("--sample", type=int, default=100, metavar="N", help="how many images of each (100)")

    def handle(self, *args: Any, **options: Any) -> None:
        rules = CompressionRule.objects.select_related("site").order_by("id")
        if options["rules"]:
            rules = rules.filter(name__in=options["rules"])
        if not rules:
            raise CommandError(_("There is no rule: make one in the administration under Storage."))
        if getattr(self, "_called_from_command_line", False):  # a process of its own, and not somebody who calls it
            os.nice(10)
        for rule in rules:
            begun = time.monotonic()
            try:
                found = sample(rule=rule, size=max(1, options["sample"]))
            except RadiologyError as error:
                raise CommandError(error.message) from error
            share = 100 - 100 * found.after // found.before if found.before else 0
            told = _(
                "%(rule)s, to %(syntax)s: %(compressed)d of %(looked_at)d images would become smaller, %(before)s "
                "would be %(after)s (%(share)d %% saved), %(rate)s a second."
            )
            seconds = max(0.001, time.monotonic() - begun)
            figures = {
                "rule": rule.name,
                "syntax": rule.get_transfer_syntax_uid_display(),
                "compressed": found.compressed,
                "looked_at": found.looked_at,
                "before": filesizeformat(found.before),
                "after": filesizeformat(found.after),
                "share": share,
                "rate": filesizeformat(found.before / seconds),
            }
            self.stdout.write(told % figures)
            for detail, count in sorted(found.left.items(), key=lambda each: -each[1]):
                self.stdout.write(f"  {count}: {detail}")
