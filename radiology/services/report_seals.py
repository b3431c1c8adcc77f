"""Whether a letter is genuine: each signed version has a token that leads to its page, and a digest of what it says."""

import hashlib
import json
import secrets
from datetime import UTC

from radiology.models import SIGNED, ReportSeal, ReportStatus, ReportVersion


def seal(version: ReportVersion) -> ReportSeal:
    """The seal of a signed version; one that was published before there were seals gets its own now."""
    made, _is_new = ReportSeal.objects.get_or_create(
        version_ref=version, defaults={"token": secrets.token_urlsafe(16), "sha256": digest_of(version)}
    )
    return made


def seal_for_letter(version: ReportVersion) -> ReportSeal | None:
    """What a letter prints: nothing for what nobody signed, or for what somebody else's program wrote as a PDF."""
    return seal(version) if version.status in SIGNED and version.pdf is None else None


def digest_of(version: ReportVersion) -> bytes:
    """The SHA-256 of what a letter prints of a version: who wrote and signed it, when and why, words and key images."""
    said = {
        "report": str(version.report_ref.public_id),
        "number": version.number,
        "status": str(version.status),
        "by": version.author_name,
        "written_by": version.writer_name,
        "at": version.at.astimezone(UTC).isoformat(),
        "sections": version.sections,
        "markup": version.markup,
        "addenda": version.addenda,
        "key_images": version.key_images,
        "reason": version.reason,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, ensure_ascii=False).encode()).digest()


def is_unchanged(made: ReportSeal) -> bool:
    """Whether the version says, letter by letter, what was signed."""
    return digest_of(made.version_ref) == bytes(made.sha256)


def later_version(version: ReportVersion) -> ReportVersion | None:
    """The version that holds instead of this one; None where this one holds."""
    newest = version.report_ref.versions.defer("pdf", "sections", "markup").first()
    return newest if newest is not None and newest.pk != version.pk else None


def is_withdrawn(version: ReportVersion) -> bool:
    return version.report_ref.status == ReportStatus.ENTERED_IN_ERROR
