"""Signed links: what a hospital system puts into its pages so that they open images without signing in.

The system signs itself, with a secret that it shares with us, or asks us to: it is the same link. What is signed is
the path and, a line each, every parameter but the signature as `name=value`, not encoded, in the order of their names:

    /viewer
    AccessionNumber=ACC12345
    client=simrs
    expires=1767225600

with a line feed between lines and none at the end; the signature is the HMAC-SHA-256 in hexadecimal digits.
"""

import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from pacs.models import LinkSigner, Study
from pacs.services.numbers import patient_of_number
from radiology.dicom import is_uid
from radiology.errors import InvalidValue, NotAllowed, NotFound
from radiology.models import ApiClient, AuditAction, Patient
from radiology.services import audit

VIEWER, LIST = "/viewer", "/worklist"
LONGEST_SECONDS = 7 * 24 * 3600
# Clocks may differ by so much.
SKEW_SECONDS = 60
MOST_STUDIES = 20
SUBJECTS = ("StudyInstanceUIDs", "AccessionNumber", "patientId")


class LinkExpired(NotAllowed):
    """The link was right, and its time is over; `signer` is among the facts."""


@dataclass(frozen=True)
class Subject:
    """What a link opens: these studies, or all of this patient."""

    studies: list[Study]
    patient: Patient | None = None


def string_to_sign(*, path: str, parameters: Mapping[str, str]) -> str:
    return "\n".join([path, *(f"{name}={parameters[name]}" for name in sorted(parameters) if name != "signature")])


def signature(*, secret: str, path: str, parameters: Mapping[str, str]) -> str:
    means = string_to_sign(path=path, parameters=parameters)
    return hmac.digest(secret.encode(), means.encode(), "sha256").hex()


def signer_of(*, path: str, parameters: Mapping[str, str]) -> LinkSigner:
    """Who signed this link. Raises NotAllowed, LinkExpired; which of its parts is wrong is not told."""
    signers = LinkSigner.objects.filter(client__is_active=True).exclude(secret_encrypted="").select_related("client")
    signer = signers.filter(client__name=parameters.get("client", "")).first()
    secret = signer.secret if signer else secrets.token_urlsafe(32)
    given = parameters.get("signature", "").lower()
    right = signature(secret=secret, path=path, parameters=parameters)
    clean = not any(re.search(r"[\x00-\x1f\x7f]", value) for value in parameters.values())
    if not hmac.compare_digest(right.encode(), given.encode()) or signer is None or not clean:
        raise NotAllowed(_("This link is not valid."))
    expires = parameters.get("expires", "")
    if not re.fullmatch(r"\d{1,12}", expires, re.ASCII):
        raise NotAllowed(_("This link is not valid."))
    left = int(expires) - time.time()
    if left < -SKEW_SECONDS:
        raise LinkExpired(_("This link has expired."), signer=signer)
    if left > LONGEST_SECONDS + SKEW_SECONDS:
        raise NotAllowed(_("This link is not valid: it would last for longer than links may."))
    return signer


def subject_of(*, signer: LinkSigner, parameters: Mapping[str, str]) -> Subject:
    """What the link is about, of what the signer's site has. Raises InvalidValue, NotFound.

    A number of several patients is of none.
    """
    named = [name for name in SUBJECTS if parameters.get(name, "").strip()]
    if len(named) != 1:
        raise InvalidValue(_("A link names studies, an accession number or a patient: one of these."))
    value = parameters[named[0]].strip()
    visible = Study.objects.visible_to(signer).exclude(number_of_study_related_instances=0)
    if named[0] == "patientId":
        issuer = parameters.get("issuer", "").strip() or signer.client.site.issuer_of_patient_id
        patient = patient_of_number(who=signer, patient_id=value, issuer=issuer)
        if patient is None:
            raise NotFound(_("Nobody is known by this number, or more than one person is."))
        return Subject(list(visible.filter(patient_ref=patient).order_by("-sort_at", "-pk")[:2]), patient)
    if named[0] == "AccessionNumber":
        found = list(visible.filter(accession_number=value).order_by("-sort_at", "-pk")[:MOST_STUDIES])
        if len({study.patient_ref_id for study in found}) > 1:
            raise NotFound(_("Several patients have images with this number: open them from their own pages."))
    else:
        uids = [uid.strip() for uid in value.split(",") if is_uid(uid.strip())][:MOST_STUDIES]
        rows = {study.study_instance_uid: study for study in visible.filter(study_instance_uid__in=uids)}
        found = [rows[uid] for uid in dict.fromkeys(uids) if uid in rows]
    if not found:
        raise NotFound(_("These images are not here: they have not arrived yet, or were removed."))
    return Subject(found)


@transaction.atomic
def new_secret(*, who: Any, client: ApiClient, address: str | None = None) -> str:
    """A new secret of this client, which ends every link that was signed with the one before. It is shown once."""
    signer, _made = LinkSigner.objects.select_for_update(of=("self",)).get_or_create(client=client)
    text = secrets.token_urlsafe(32)
    signer.secret = text
    signer.secret_version += 1
    signer.secret_changed_at = timezone.now()
    signer.save()
    audit.record(
        event="link.secret",
        action=AuditAction.UPDATE,
        who=who,
        address=address,
        site_id=client.site_id,
        detail={"client": str(client), "version": signer.secret_version},
    )
    return text


@transaction.atomic
def make_link(
    *,
    who: Any,
    client: ApiClient,
    path: str,
    parameters: Mapping[str, str],
    seconds: int,
    for_whom: str = "",
    address: str | None = None,
) -> tuple[dict[str, str], int]:
    """A link of that client, signed by us: its parameters, and when it expires. A client without a secret gets one.

    Raises NotAllowed, InvalidValue, NotFound.
    """
    if not who.may("studies.share"):
        raise NotAllowed(_("You may not hand out tokens and links that open studies."))
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise InvalidValue(
            _("expires_in is from 1 to %(most)s seconds.") % {"most": LONGEST_SECONDS}, field="expires_in"
        )
    if not LinkSigner.objects.filter(client=client).exclude(secret_encrypted="").exists():
        new_secret(who=who, client=client, address=address)
    signer = LinkSigner.objects.select_related("client__site").get(client=client)
    subject = subject_of(signer=signer, parameters=parameters)
    expires = int(time.time()) + seconds
    signed = {**parameters, "client": client.name, "expires": str(expires)}
    signed["signature"] = signature(secret=signer.secret, path=path, parameters=signed)
    audit.record(
        event="link.made",
        action=AuditAction.CREATE,
        who=who,
        address=address,
        site_id=client.site_id,
        patient_id=subject.patient.pk if subject.patient else subject.studies[0].patient_ref_id,
        study_instance_uid="" if subject.patient else subject.studies[0].study_instance_uid,
        detail={"for": for_whom, "expires": expires, "signature": signed["signature"][:8]},
    )
    return signed, expires
