"""Lasting tokens of studies: 64 characters that open one study to whoever has them.

A token is an HMAC over site, study and generation with a key that is not in the database: so the same question
gets the same token, and the database alone gives none away. Only its digest is kept, by which it is found again.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import Study, StudyToken
from pacs.models.study import StudyQuerySet
from radiology.errors import NotAllowed, NotFound
from radiology.models import AuditAction, Patient
from radiology.services import audit
from radiology.services.survivors import survivor_of

LENGTH = 64
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TEXT = re.compile(f"[0-9A-Za-z]{{{LENGTH}}}")
ASKED = "token.asked"
USED = "token.used"
REVOKED = "token.revoked"


@dataclass(frozen=True)
class Handed:
    """The token of one study."""

    study: int
    site: int
    patient: int
    study_instance_uid: str
    token: str


def hand_out(*, studies: StudyQuerySet, most: int | None = None) -> list[Handed]:
    """The tokens of these studies (the first so many); none for those of which nothing is shown.

    One query, and one or two more where a token is handed out for the first time.
    """
    shown = studies.exclude(number_of_study_related_instances=0).values_list(
        *("pk", "site_id", "patient_ref_id", "study_instance_uid"),
        *("token__generation", "token__token_sha256", "token__patient_ref"),
    )
    handed: list[Handed] = []
    missing: list[StudyToken] = []
    for study, site, patient, uid, generation, kept, was_of in shown[:most]:
        current = generation or 1
        if kept is not None and not _is_same(was_of, patient):
            current += 1
        token = _text(site, uid, current)
        handed.append(Handed(study, site, patient, uid, token))
        values = {"generation": current, "token_sha256": _digest(token), "patient_ref_id": patient}
        if kept is None:
            missing.append(StudyToken(study_ref_id=study, **values))
        elif bytes(kept) != values["token_sha256"]:  # another key, or another patient, than then
            StudyToken.objects.filter(study_ref=study, generation=generation).update(**values)
    if missing:
        StudyToken.objects.bulk_create(missing, ignore_conflicts=True)
    return handed


def is_of_its_patient(token: StudyToken) -> bool:
    """Whether the study is still the patient's whose it was when the token was handed out, merges apart."""
    return _is_same(token.patient_ref_id, token.study_ref.patient_ref_id)


def token_of_text(*, text: str) -> StudyToken | None:
    """The token with this text, if it opens something: its study is shown, and it was not revoked."""
    if not TEXT.fullmatch(text):
        return None
    shown = StudyToken.objects.filter(study_ref__deleted_at=None, study_ref__number_of_study_related_instances__gt=0)
    found = shown.select_related("study_ref__patient_ref", "study_ref__site").filter(token_sha256=_digest(text)).first()
    if found is None:
        return None
    means = _text(found.study_ref.site_id, found.study_ref.study_instance_uid, found.generation)
    return found if hmac.compare_digest(means, text) and is_of_its_patient(found) else None


@transaction.atomic
def ask_for_token(*, who: Any, study: Study, address: str | None = None) -> str:
    """The token of a study that `who` may hand out. Raises NotAllowed, NotFound for one of which nothing is shown."""
    if not who.may("studies.share"):
        raise NotAllowed(_("You may not hand out tokens and links that open studies."))
    handed = hand_out(studies=Study.objects.visible_to(who).filter(pk=study.pk))
    if not handed:
        raise NotFound(_("Nothing of this study is shown that a token could open."), field="study")
    _record(ASKED, AuditAction.READ, who, study, address)
    return handed[0].token


@transaction.atomic
def revoke_token(*, who: Any, study: Study, address: str | None = None) -> None:
    """From now on the token that was handed out opens nothing, also where it is open; asking gives another one.

    Raises NotAllowed.
    """
    if not who.may("tokens.revoke"):
        raise NotAllowed(_("You may not revoke tokens."))
    made, _is_new = StudyToken.objects.get_or_create(
        study_ref=study, defaults={"token_sha256": _digest(_text(study.site_id, study.study_instance_uid, 1))}
    )
    row = StudyToken.objects.select_for_update().get(pk=made.pk)
    row.generation += 1
    row.token_sha256 = _digest(_text(study.site_id, study.study_instance_uid, row.generation))
    row.patient_ref_id = study.patient_ref_id
    row.revoked_at = timezone.now()
    row.save()
    _record(REVOKED, AuditAction.UPDATE, who, study, address, {"generation": row.generation})


def _record(
    event: str, action: AuditAction, who: Any, study: Study, address: str | None, detail: dict[str, Any] | None = None
) -> None:
    audit.record(
        event=event,
        action=action,
        who=who,
        address=address,
        site_id=study.site_id,
        patient_id=study.patient_ref_id,
        study_instance_uid=study.study_instance_uid,
        detail=detail,
    )


def _is_same(was: int | None, now: int) -> bool:
    if was is None or was == now:
        return was == now
    patient = Patient.objects.select_related("merged_into").filter(pk=was).first()
    return patient is not None and survivor_of(patient).pk == now


def _text(site: int, study_instance_uid: str, generation: int) -> str:
    """64 digits to the base of 62 of an HMAC-SHA-512: 381 bits."""
    key = (settings.SINAR_STUDY_TOKEN_KEY or settings.SECRET_KEY).encode()
    means = f"sinar study token\n{site}\n{study_instance_uid}\n{generation}"
    number = int.from_bytes(hmac.digest(key, means.encode(), "sha512"))
    digits = []
    for _place in range(LENGTH):
        number, digit = divmod(number, 62)
        digits.append(DIGITS[digit])
    return "".join(digits)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
