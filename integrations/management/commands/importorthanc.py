"""`manage.py importorthanc`: moves an Orthanc in, over its REST API or from its folders, and its modalities."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.utils.translation import gettext as _

from integrations.orthanc_import.configuration import index_folder, read_configuration, to_do
from integrations.orthanc_import.sources import VARIABLE, from_address, from_storage
from pacs.http_peer import is_plain
from pacs.import_command import SOME_REFUSED, ImportCommand, site_of
from pacs.import_sources import Plan
from pacs.services.orthanc_nodes import nodes_in, take_over
from radiology.errors import RadiologyError
from radiology.models import Site


class Command(ImportCommand):
    help = (
        "Move an Orthanc in: its objects, over its REST API or from its folder (which is only read), and the "
        "DicomModalities of its configuration. Each object is compared with the MD5 that Orthanc keeps. The same "
        "command again goes on where it stopped or was killed, and later takes what is new. Exit code 0: everything "
        "is in; 3: done, something was refused; 4: it ended early; 130: stopped by Ctrl-C."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "source", nargs="?", metavar="SOURCE", help="http://host:8042, or Orthanc's folder (StorageDirectory)"
        )
        parser.add_argument("--user", metavar="NAME", help="of Orthanc: one of its RegisteredUsers")
        parser.add_argument(
            "--password-file", metavar="FILE", help=f"holds the password; else {VARIABLE}, else it is asked for"
        )
        parser.add_argument(
            "--configuration", metavar="PATH", help="Orthanc's JSON file, or the folder of them: takes its modalities"
        )
        parser.add_argument(
            "--without-index", action="store_true", help="of a folder: take whatever is DICOM, ask no index"
        )
        self.add_import_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        source = options["source"]
        if not source and not options["configuration"]:
            raise CommandError(_("Name the address or the folder of an Orthanc, or its --configuration."))
        is_address = bool(source) and "://" in source
        if (options["user"] or options["password_file"]) and not is_address:
            raise CommandError(_("--user and --password-file are about the address of an Orthanc."))
        if options["without_index"] and (is_address or not source):
            raise CommandError(_("--without-index is about the folder of an Orthanc."))
        self._settings: dict[str, Any] = {}
        code, more = 0, {}
        if options["configuration"]:
            try:
                more = {"configuration": self._take_over(options)}
            except RadiologyError as error:
                raise CommandError(error.message) from error
            code = SOME_REFUSED if more["configuration"]["conflicts"] else 0
        if source:
            code = self.carried_out(options, **more) or code
        elif options["json"]:
            self.stdout.write(json.dumps(more))
        sys.exit(code)

    def plan(self, site: Site, options: dict[str, Any]) -> Plan:
        source = options["source"]
        shared = {"site": site, "readers": options["jobs"], "fresh": options["fresh"]}
        if "://" not in source:
            folder = Path(source).expanduser().absolute()
            return from_storage(folder=folder, index=self._index(folder, options), **shared)
        if options["user"] and is_plain(source):
            self.stderr.write(_("The password goes to %(url)s over plain HTTP, readable on the way.") % {"url": source})
        return from_address(url=source, user=options["user"], password_file=options["password_file"], **shared)

    def _index(self, folder: Path, options: dict[str, Any]) -> Path | None:
        if options["without_index"]:
            return None
        index = index_folder(self._settings, folder) / "index"
        if index.is_file():
            return index
        self.stderr.write(
            _("There is no index at %(path)s: the files are read without it, and compared with no MD5.")
            % {"path": index}
        )
        return None

    def _take_over(self, options: dict[str, Any]) -> dict[str, list[str]]:
        self._settings, left_out = read_configuration(Path(options["configuration"]).expanduser())
        found = nodes_in(self._settings, site_code=site_of(options["site"]).code)
        taken = take_over(found)
        told = {
            "new": taken.new,
            "there": taken.there,
            "conflicts": taken.conflicts,
            "left_out": [*left_out, *found.left_out],
            "to_do": list(to_do(self._settings, moves=bool(options["source"]))),
        }
        if not options["json"]:
            titles = {
                "new": _("New nodes:"),
                "there": _("Nodes that were here already:"),
                "conflicts": _("Nodes that contradict what is here, which stays as it is:"),
                "left_out": _("Left out:"),
                "to_do": _("To do:"),
            }
            for name, title in titles.items():
                if told[name]:
                    self.stdout.write("\n  ".join([title, *told[name]]))
        return told
