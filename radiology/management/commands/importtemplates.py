from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from radiology.errors import RadiologyError
from radiology.models import ReportLanguage, Site
from radiology.services.mrrt import import_template
from radiology.services.mrrt_document import LARGEST
from radiology.services.usual_templates import add_usual_templates


class Command(BaseCommand):
    help = "Reads report templates of IHE MRRT (HTML files, or folders of them), or adds the usual ones."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="*", type=Path, metavar="PATH")
        parser.add_argument("--usual", action="store_true", help="add the templates and macros that come with Sinar")
        parser.add_argument("--site", default="", metavar="CODE", help="code of the site; without it the first one")
        parser.add_argument("--language", choices=ReportLanguage.values, default="", help="where files do not tell")
        parser.add_argument("--modality", default="", help="such as CT, where files do not tell")
        parser.add_argument("--body-part", default="", help="DICOM's word, such as CHEST, where files do not tell")
        parser.add_argument("--replace", action="store_true", help="overwrite templates of the same code")

    def handle(self, *args: Any, **options: Any) -> None:
        site = Site.objects.filter(code=options["site"]).first() if options["site"] else Site.objects.default()
        if site is None:
            raise CommandError(f"There is no site with the code {options['site']}.")
        if not options["paths"] and not options["usual"]:
            raise CommandError("Name files or folders, or say --usual.")
        if options["usual"]:
            added = add_usual_templates(site, who="importtemplates")
            self.stdout.write(f"{added.templates} templates and {added.macros} macros added.")
        refused = sum(not self._import(site, file, options) for path in options["paths"] for file in _files(path))
        if refused:
            raise CommandError(f"{refused} {'file was' if refused == 1 else 'files were'} not imported.")

    def _import(self, site: Site, file: Path, options: dict[str, Any]) -> bool:
        """Whether the file is in; each is imported or refused by itself."""
        try:
            with file.open("rb") as opened:
                raw = opened.read(LARGEST + 1)
            template, is_changed = import_template(
                who="importtemplates",
                site=site,
                raw=raw,
                language=options["language"],
                modality=options["modality"].upper(),
                body_part_examined=options["body_part"].upper(),
                replaces=options["replace"],
            )
        except OSError as error:
            self.stderr.write(f"{file}: {error.strerror}.")
        except RadiologyError as error:
            self.stderr.write(f"{file}: {error.message}")
        else:
            done = "imported as" if is_changed else "is there already:"
            self.stdout.write(f"{file}: {done} {template.code} ({template.language}, {template.modality})")
            return True
        return False


def _files(path: Path) -> Iterator[Path]:
    """The file, or all HTML files of the folder and those below; a path that is not there is told when it is read."""
    if not path.is_dir():
        yield path
        return
    yield from sorted(each for each in path.rglob("*") if each.suffix.casefold() in {".html", ".htm"})
