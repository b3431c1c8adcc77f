import argparse
import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from pacs.services.orthanc_nodes import nodes_of
from radiology.errors import InvalidValue
from radiology.models import Site
from radiology.services import configuration


class Command(BaseCommand):
    help = "Write the configuration to one file, or read one in (also the nodes of an orthanc.json)."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        writing = actions.add_parser("export", help="write sites, roles, nodes, volumes and API clients; no secrets")
        writing.add_argument("file", nargs="?", default="-", help="where to (default: standard output)")
        reading = actions.add_parser("import", help="make what is missing and change what differs; removes nothing")
        reading.add_argument("file", help="a file of `export`; - for standard input")
        orthanc = actions.add_parser("import-orthanc", help="take the DicomModalities of an orthanc.json as nodes")
        orthanc.add_argument("file")
        orthanc.add_argument("--site", default="", help="code of the site that they belong to")
        for each in (reading, orthanc):
            each.add_argument("--dry-run", action="store_true", help="only say what would change")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["action"] == "export":
                self._export(options["file"])
            elif options["action"] == "import":
                self._import(_read(options["file"]), dry_run=options["dry_run"])
            else:
                self._import_orthanc(options)
        except InvalidValue as error:
            raise CommandError(error.message) from None
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}") from None

    def _export(self, file: str) -> None:
        text = configuration.export(who=None)
        if file == "-":
            self.stdout.write(text, ending="")
        else:
            Path(file).write_text(text, encoding="utf-8")

    def _import(self, text: str, *, dry_run: bool) -> None:
        changes = configuration.plan(text=text) if dry_run else configuration.apply(who=None, text=text)
        for change in changes:
            self.stdout.write(f"{'new' if change.is_new else 'changed'}  {change.section}: {change.name}")
            if not change.is_new:
                for name, (before, after) in change.values.items():
                    self.stdout.write(f"         {name}: {before!r} -> {after!r}")
        self.stdout.write(f"{len(changes)} changes{' would be made' if dry_run else ' made'}.")

    def _import_orthanc(self, options: dict[str, Any]) -> None:
        site = Site.objects.filter(code=options["site"]).first() if options["site"] else Site.objects.default()
        if site is None:
            raise CommandError(f"There is no site of the code {options['site']}.")
        found = nodes_of(text=_read(options["file"]), site_code=site.code)
        for line in found.left_out:
            self.stderr.write(f"left out  {line}")
        self._import(json.dumps({"sinar": configuration.FORMAT, "nodes": found.nodes}), dry_run=options["dry_run"])


def _read(file: str) -> str:
    data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValue("The file is no UTF-8 text.", field="file") from error
