"""`manage.py importdicom`: moves objects in, from files, from another archive or over DICOMweb."""

import argparse
import sys
from typing import Any

from django.core.management.base import CommandError
from django.utils.translation import gettext as _

from pacs.import_command import ImportCommand
from pacs.import_sources import Plan, filters_of, from_dicomweb, from_files, from_node
from radiology.models import Site


class Command(ImportCommand):
    help = (
        "Import DICOM objects from folders, files, ZIPs and DICOMDIR media, or from another archive by DICOM or "
        "DICOMweb. What is no DICOM is passed over. The same "
        "command again goes on where it stopped or was killed. Exit code 0: everything is in; 3: done, some files "
        "were refused; 4: it ended early; 130: stopped by Ctrl-C."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("paths", nargs="*", metavar="PATH", help="a folder, file, ZIP or DICOMDIR")
        other = parser.add_mutually_exclusive_group()
        other.add_argument("--from-node", metavar="TITLE", help="a registered node: C-FIND, then C-GET or C-MOVE")
        other.add_argument("--from-dicomweb", metavar="URL", help="a DICOMweb server: QIDO-RS, then WADO-RS")
        parser.add_argument("--study", metavar="UID", help="of another archive: this study only")
        parser.add_argument("--date", metavar="DAYS", help="of another archive: 20240101 or 20240101-20241231")
        parser.add_argument("--patient", metavar="ID", help="of another archive: this patient's studies only")
        credentials = parser.add_mutually_exclusive_group()
        credentials.add_argument("--token-file", metavar="FILE", help="of a DICOMweb server: holds the bearer token")
        credentials.add_argument(
            "--user", metavar="NAME", help="of a DICOMweb server: the password is asked for, or read from the input"
        )
        self.add_import_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(self.carried_out(options))

    def plan(self, site: Site, options: dict[str, Any]) -> Plan:
        filters = filters_of(study=options["study"], date=options["date"], patient=options["patient"])
        remote = options["from_node"] or options["from_dicomweb"]
        if bool(remote) == bool(options["paths"]):
            raise CommandError(_("Name a folder, file, ZIP or DICOMDIR to import, or another archive."))
        if not remote and (filters or options["token_file"] or options["user"]):
            raise CommandError(_("--study, --date, --patient, --token-file and --user are about another archive."))
        if options["from_node"]:
            if options["bandwidth"]:
                raise CommandError(
                    _("Of a DICOM node the bandwidth is set at the node: `node set TITLE --receive-rate`.")
                )
            return from_node(title=options["from_node"], filters=filters, fresh=options["fresh"])
        shared = {"site": site, "readers": options["jobs"], "fresh": options["fresh"]}
        if options["from_dicomweb"]:
            return from_dicomweb(
                url=options["from_dicomweb"],
                filters=filters,
                token_file=options["token_file"],
                user=options["user"],
                **shared,
            )
        return from_files(paths=options["paths"], **shared)
