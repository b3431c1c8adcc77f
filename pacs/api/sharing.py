"""Tokens and links that open studies to whoever has them, for systems that put them into their pages."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from pacs.api.access import ApiView, study_of
from pacs.api.shapes import Text
from pacs.dicomweb.addresses import origin
from pacs.services import links
from pacs.services.study_tokens import ask_for_token, revoke_token
from radiology.api.operations import json_answer, json_body, operation, text_of
from radiology.errors import InvalidValue, NotAllowed
from radiology.models import ApiToken
from radiology.services import audit

PAGES = {"viewer": links.VIEWER, "worklist": links.LIST}
SECONDS = 3600
# What stands in the body, by the name in the link.
NAMED = {
    "StudyInstanceUIDs": "study_instance_uid",
    "AccessionNumber": "accession_number",
    "patientId": "patient_id",
    "issuer": "issuer_of_patient_id",
}


class TokenShape(serializers.Serializer):
    """The lasting token of a study, and what it opens."""

    study_instance_uid = Text()
    token = Text(help_text="64 letters and digits; the same each time, until it is revoked.")
    viewer_url = Text(help_text="Opens the study in the viewer.")
    download_url = Text(help_text="The study as ZIP.")
    sante_url = Text(help_text="Opens the study in Sante DICOM Web Viewer, where that is installed.")


class LinkRequest(serializers.Serializer):
    """One of a study, an accession number or a patient."""

    study_instance_uid = Text(required=False, help_text="One, or several separated by commas.")
    accession_number = Text(required=False, max_length=64)
    patient_id = Text(required=False, max_length=64)
    issuer_of_patient_id = Text(required=False, max_length=64, help_text="Without it, the site's own.")
    page = serializers.ChoiceField(
        choices=list(PAGES), required=False, help_text="`worklist` lists the studies of a patient; else the viewer."
    )
    expires_in = serializers.IntegerField(
        required=False, min_value=1, max_value=links.LONGEST_SECONDS, help_text=f"Seconds; {SECONDS} unless you say."
    )
    for_whom = Text(required=False, max_length=200, help_text="Who will use it; kept in the audit.")


class LinkShape(serializers.Serializer):
    """A link that opens images without signing in."""

    url = Text()
    expires_at = serializers.DateTimeField()


EXAMPLES = [
    OpenApiExample(
        "The study of an order, for an hour",
        value={"accession_number": "ACC12345", "expires_in": 3600, "for_whom": "dr. Sari, ward 3"},
        request_only=True,
    )
]


def token_addresses(request: HttpRequest, token: str) -> dict[str, str]:
    """What a token opens, as addresses."""
    here = origin(request)
    host = request.get_host()
    if not host.rpartition("]")[2].count(":"):
        host = f"{host}:{'443' if request.is_secure() else '80'}"
    ssl = "yes" if request.is_secure() else "no"
    return {
        "viewer_url": f"{here}{reverse('viewer')}?token={token}",
        "download_url": f"{here}{reverse('download')}?token={token}",
        "sante_url": f"sante://download?url={quote(host, safe=':[]')}&ssl={ssl}&token={token}",
    }


class StudyToken(ApiView):
    """`/studies/{study}/token`."""

    @operation(
        tag="Sharing",
        summary="The token of a study",
        description="Opens the study to whoever has it, without signing in. It lasts: keep it, or ask again. Needs "
        "`studies.share`.",
        path=["study"],
        answers={200: TokenShape},
        errors=[404],
    )
    def get(self, request: Any, study: str) -> HttpResponse:
        found = study_of(request.user, study)
        token = ask_for_token(who=request.user, study=found, address=audit.address_of(request))
        body = {"study_instance_uid": study, "token": token, **token_addresses(request, token)}
        return json_answer(request, body)

    @operation(
        tag="Sharing",
        summary="Revoke the token of a study",
        description="What was handed out opens nothing from now on, also where it is open; asking gives another token.",
        path=["study"],
        answers={204: None},
        errors=[404],
    )
    def delete(self, request: Any, study: str) -> HttpResponse:
        revoke_token(who=request.user, study=study_of(request.user, study), address=audit.address_of(request))
        return HttpResponse(status=204)


class Links(ApiView):
    """`POST /links`."""

    @operation(
        tag="Sharing",
        summary="Make a link that expires",
        description="Opens images without signing in until it expires. It is the client's own, as if it had signed it "
        "itself with its secret: it ends with that secret, and when the client is made inactive. Needs a token with "
        "`studies.share`.",
        body=LinkRequest,
        answers={201: LinkShape},
        errors=[404],
        examples=EXAMPLES,
    )
    def post(self, request: Any) -> HttpResponse:
        who = request.user
        if not isinstance(who, ApiToken) or not who.may("studies.share"):
            raise NotAllowed("Links are made by programs: with a token that has studies.share.")
        given = json_body(request)
        unknown = set(given) - {*NAMED.values(), "page", "expires_in", "for_whom"}
        if unknown:
            raise InvalidValue("A link has no such part: see the description.", field=min(map(str, unknown))[:64])
        parameters = {name: text_of(given, field, most=1400) for name, field in NAMED.items()}
        page = text_of(given, "page") or "viewer"
        if page not in PAGES or (page == "worklist" and not parameters["patientId"]):
            raise InvalidValue("page is viewer, or for a patient worklist.", field="page")
        seconds = given.get("expires_in", SECONDS)
        if type(seconds) is not int:
            raise InvalidValue("expires_in is a number of seconds.", field="expires_in")
        signed, expires = links.make_link(
            who=who,
            client=who.client,
            path=PAGES[page],
            parameters={name: value for name, value in parameters.items() if value},
            seconds=seconds,
            for_whom=text_of(given, "for_whom"),
            address=audit.address_of(request),
        )
        moment = datetime.fromtimestamp(expires, UTC).isoformat()
        body = {"url": f"{origin(request)}{PAGES[page]}?{urlencode(signed, quote_via=quote)}", "expires_at": moment}
        return json_answer(request, body, status=201)
