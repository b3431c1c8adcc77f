import argparse
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from radiology.errors import InvalidValue
from radiology.models import Site
from radiology.services import catalogue_csv, tables


class Command(BaseCommand):
    help = "Write the procedure catalogue out as CSV, or read one in: all of it or nothing, found by code."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--site", default="", help="code of the site; without it the first one")
        actions = parser.add_subparsers(dest="action", required=True)
        export = actions.add_parser("export", help="write it to a file, or to the standard output")
        export.add_argument("file", nargs="?", default="-")
        read = actions.add_parser("import", help="read a file in (- is the standard input)")
        read.add_argument("file", nargs="?", default="-")
        read.add_argument("--usual", action="store_true", help="the table of usual procedures that comes with Sinar")
        read.add_argument("--dry-run", action="store_true", help="only tell what would change")

    def handle(self, *args: Any, **options: Any) -> None:
        site = Site.objects.filter(code=options["site"]).first() if options["site"] else Site.objects.default()
        if site is None:
            raise CommandError(f"There is no site with the code {options['site']}.")
        getattr(self, f"_{options['action']}")(site, options)

    def _export(self, site: Site, options: dict[str, Any]) -> None:
        text = catalogue_csv.export_csv(site=site)
        if options["file"] == "-":
            self.stdout.write(text, ending="")
        else:
            Path(options["file"]).write_text(text, encoding="utf-8", newline="")

    def _import(self, site: Site, options: dict[str, Any]) -> None:
        try:
            text = catalogue_csv.usual_procedures() if options["usual"] else _read(options["file"])
            if options["dry_run"]:
                changes = catalogue_csv.plan(site=site, text=text)
            else:
                changes = catalogue_csv.import_csv(site=site, text=text, who="catalogue import")
        except InvalidValue as error:
            raise CommandError(error.message) from None
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror}.") from None
        for change in changes:
            if change.is_new:
                self.stdout.write(f"new: {change.code} {change.name}")
            for column, (before, after) in change.values.items():
                self.stdout.write(f"changed: {change.code} {column}: {before or '-'} -> {after or '-'}")
        done = "would change" if options["dry_run"] else "changed"
        self.stdout.write(f"{len(changes)} {'entry' if len(changes) == 1 else 'entries'} {done}.")


def _read(file: str) -> str:
    raw = sys.stdin.buffer.read(tables.LARGEST + 1) if file == "-" else Path(file).read_bytes()
    return tables.decode(raw)
