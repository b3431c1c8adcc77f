"""What `importorthanc` imports from: an address or a folder."""

import os
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from integrations.orthanc_import.checksums import Checksums
from integrations.orthanc_import.index import Index
from integrations.orthanc_import.server import OrthancServer
from integrations.orthanc_import.storage import OrthancStorage
from pacs.import_sources import Plan, basic, password_of
from pacs.models import ImportKind
from pacs.services import imports
from radiology.errors import InvalidValue, NotFound
from radiology.models import Site

AGENT = "importorthanc"
VARIABLE = "SINAR_ORTHANC_PASSWORD"


def from_address(
    *, site: Site, url: str, user: str | None, password_file: str | None, readers: int, fresh: bool
) -> Plan:
    """An Orthanc that runs. Raises Unreachable, NotAllowed, InvalidValue before anything is begun."""
    server = OrthancServer(url, authorization=_authorization(user, password_file), connections=readers + 2)
    server.require_orthanc()
    run, goes_on = imports.run_for(site=site, kind=ImportKind.ORTHANC, places=[server.url], who=AGENT, fresh=fresh)

    def work(**control: Any) -> None:
        imports.carry_out(run=run, listing=server.candidates, readers=readers, counted=server.counted, **control)

    return Plan(run, goes_on, work, lambda: _remarks(server.checksums))


def from_storage(*, site: Site, folder: Path, index: Path | None, readers: int, fresh: bool) -> Plan:
    """Orthanc's folder, with the index at `index` or without any. Raises NotFound, CannotUnderstand."""
    if not folder.is_dir():
        raise NotFound(_("There is no folder %(path)s. An address begins with http:// or https://.") % {"path": folder})
    known = Index(index) if index is not None else None
    if known is not None:
        known.require_readable()
    storage = OrthancStorage(folder, index=known)
    run, goes_on = imports.run_for(
        site=site, kind=ImportKind.ORTHANC, places=[str(storage.folder)], who=AGENT, fresh=fresh
    )

    def work(**control: Any) -> None:
        counted = True if known is None else known.counted
        imports.carry_out(run=run, listing=storage.candidates, readers=readers, counted=counted, **control)

    return Plan(run, goes_on, work, lambda: _remarks(storage.checksums))


def _authorization(user: str | None, password_file: str | None) -> str:
    """The header. The password stands in a file, in the environment or is asked for: not in a list of processes."""
    if not user:
        if password_file:
            raise InvalidValue(_("A password needs a user: --user."), field="user")
        return ""
    if password_file:
        try:
            lines = Path(password_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidValue(_("The password cannot be read from %(file)s.") % {"file": password_file}) from error
        if not lines or not lines[0]:
            raise InvalidValue(_("The file %(file)s holds no password.") % {"file": password_file})
        return basic(user, lines[0])
    return basic(user, os.environ.get(VARIABLE) or password_of(user))


def _remarks(checksums: Checksums) -> list[str]:
    if not checksums.missing:
        return []
    told = ngettext(
        "There was no MD5 of %(count)d file: it was taken without being compared.",
        "There was no MD5 of %(count)d files: they were taken without being compared.",
        checksums.missing,
    )
    return [told % {"count": checksums.missing}]
