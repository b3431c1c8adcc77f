"""Where `importdicom` takes objects from: files, another archive by DICOM, a DICOMweb server."""

import base64
import getpass
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from pacs.dicomweb.client import DicomWebServer
from pacs.dimse.import_node import days_of, import_from_node
from pacs.http_peer import require_fit
from pacs.models import ApplicationEntity, ImportKind, ImportRun
from pacs.services import imports
from radiology.errors import InvalidValue, NotFound
from radiology.models import Site

AGENT = "importdicom"
DATE = re.compile(r"[0-9]{8}(-[0-9]{8})?")


@dataclass(frozen=True)
class Plan:
    """A run, whether it goes on, and what carries it out (`alive=`, `stop=`).

    `remarks` says at the end what should be known beside the figures.
    """

    run: ImportRun
    goes_on: bool
    work: Callable[..., None]
    remarks: Callable[[], list[str]] = list


def from_files(*, site: Site, paths: Sequence[str], readers: int, fresh: bool) -> Plan:
    """Folders, files, ZIPs, DICOMDIR media. Raises NotFound for a path where there is nothing."""
    found = [Path(each).expanduser().absolute() for each in paths]
    for path in found:
        if not path.exists():
            raise NotFound(_("There is nothing at %(path)s.") % {"path": path})
    run, goes_on = imports.run_for(
        site=site,
        kind=ImportKind.FILES,
        places=[str(path.resolve()) for path in found],
        who=AGENT,
        fresh=fresh,
    )

    def work(**control: Any) -> None:
        imports.carry_out(run=run, listing=imports.listing_of(found), readers=readers, **control)

    return Plan(run, goes_on, work)


def from_node(*, title: str, filters: Mapping[str, str], fresh: bool) -> Plan:
    """What a registered node holds; it goes to the node's site. Raises NotFound, InvalidValue."""
    nodes = list(ApplicationEntity.objects.filter(title=title, is_active=True).select_related("site")[:2])
    if not nodes:
        raise NotFound(
            _("There is no active node of the title %(title)s: register it with `node add`.") % {"title": title}
        )
    if len(nodes) > 1:
        raise InvalidValue(_("Several active nodes have the title %(title)s.") % {"title": title})
    run, goes_on = imports.run_for(
        site=nodes[0].site,
        kind=ImportKind.NODE,
        places=[title, *_words(filters)],
        who=AGENT,
        fresh=fresh,
    )

    def work(**control: Any) -> None:
        import_from_node(run=run, node=nodes[0], keys=filters, **control)

    return Plan(run, goes_on, work)


def from_dicomweb(
    *,
    site: Site,
    url: str,
    filters: Mapping[str, str],
    token_file: str | None,
    user: str | None,
    readers: int,
    fresh: bool,
) -> Plan:
    """What a DICOMweb server holds. Raises InvalidValue for an address or a token that cannot be used."""
    require_fit(url, with_credentials=bool(token_file or user))  # before anybody types a password
    server = DicomWebServer(url, authorization=_authorization(token_file, user), connections=readers + 1)
    run, goes_on = imports.run_for(
        site=site, kind=ImportKind.DICOMWEB, places=[server.url, *_words(filters)], who=AGENT, fresh=fresh
    )

    def work(**control: Any) -> None:
        imports.carry_out(
            run=run, listing=lambda: server.candidates(filters), readers=readers, counted=False, **control
        )

    return Plan(run, goes_on, work)


def filters_of(*, study: str | None, date: str | None, patient: str | None) -> dict[str, str]:
    """What is asked of another archive, by keyword. Raises InvalidValue."""
    if date is not None:
        try:
            known = DATE.fullmatch(date) and next(days_of(date))
        except (ValueError, StopIteration):
            known = None
        if not known:
            raise InvalidValue(_("--date is a day or two: 20240101 or 20240101-20241231."), field="date")
    given = {"StudyInstanceUID": study, "StudyDate": date, "PatientID": patient}
    return {keyword: value for keyword, value in given.items() if value}


def _words(filters: Mapping[str, str]) -> list[str]:
    return [f"{keyword}={value}" for keyword, value in sorted(filters.items())]


def _authorization(token_file: str | None, user: str | None) -> str:
    """The header. A token is read from a file, a password asked for: neither stands in a list of processes."""
    if token_file:
        try:
            token = Path(token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidValue(_("The token cannot be read from %(file)s.") % {"file": token_file}) from error
        if not token.isascii() or not token.isprintable() or not token:
            raise InvalidValue(_("The file %(file)s holds no token.") % {"file": token_file})
        return f"Bearer {token}"
    if user:
        return basic(user, password_of(user))
    return ""


def basic(user: str, password: str) -> str:
    """The header of Basic authentication (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def password_of(user: str) -> str:
    """Asked for on a terminal, else the first line of the input."""
    if sys.stdin.isatty():
        return getpass.getpass(_("Password of %(user)s: ") % {"user": user})
    return sys.stdin.readline().rstrip("\n")
