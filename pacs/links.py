"""What a token or a signed link leads to: the viewer, a patient's studies, or a file.

The secret part of an address is exchanged for a grant in a cookie at once, and the browser goes on to a clean one.
"""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from pacs import guests
from pacs.api.archives import zip_answer
from pacs.models import Instance, LinkSigner, Location, Study, StudyToken
from pacs.services import links
from pacs.services.study_tokens import USED, token_of_text
from radiology.errors import NotAllowed, RadiologyError, outcome_of
from radiology.guest import Guest
from radiology.models import AuditAction
from radiology.services import audit

LINK_USED = "link.used"
WRONG = 50
WRONG_WITHIN = 300
VIEWER = "/ohif/viewer"
# Parameters of the viewer's own address that a link may carry.
PASSED_ON = {
    # A hundred of 64 characters: the whole address stays below the server's `limit_request_line`.
    "SeriesInstanceUIDs": r"[0-9.,]{1,6600}",
    "initialSeriesInstanceUID": r"[0-9.]{1,64}",
    "initialSOPInstanceUID": r"[0-9.]{1,64}",
    "hangingprotocolid": r"[@A-Za-z0-9/_-]{1,64}",
    "stageid": r"[A-Za-z0-9_-]{1,64}",
}


def viewer_address(request: HttpRequest, uids: list[str]) -> str:
    """The viewer on these studies, with what the request says of how to show them."""
    passed = {
        name: request.GET[name]
        for name, pattern in PASSED_ON.items()
        if name in request.GET and re.fullmatch(pattern, request.GET[name], re.ASCII)
    }
    return f"{VIEWER}?{urlencode({'StudyInstanceUIDs': ','.join(uids), **passed}, safe=',')}"


def opens_links(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """An address that also takes tokens (`?token=`) and signed links (`?signature=`), from whoever has them."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if "signature" in request.GET:
            return _with_no_trace(_open_signed(request))
        if "token" in request.GET:
            return _with_no_trace(_open_token(request))
        return view(request, *args, **kwargs)

    return wrapped


@require_safe
@never_cache
def download(request: HttpRequest) -> HttpResponseBase:
    """GET /download?token=: the study as a ZIP."""
    token = token_of_text(text=request.GET.get("token", ""))
    if token is None:
        return _with_no_trace(_unknown_token(request))
    study = token.study_ref
    guest = Guest(name=str(token), studies=frozenset([study.pk]), patients=frozenset(), site_id=study.site_id)
    shown = Instance.objects.visible_to(guest)
    try:
        response = zip_answer(
            request,
            Location.objects.current().filter(instance_ref__in=shown),
            name="-".join(filter(None, ["study", study.study_date, study.accession_number])),
            who=guest,
            event=USED,
            site_id=study.site_id,
            patient_id=study.patient_ref_id,
            study_instance_uid=study.study_instance_uid,
        )
    except RadiologyError as error:
        response = _refused(request, outcome_of(error).http, error.message)
    return _with_no_trace(response)


def _open_token(request: HttpRequest) -> HttpResponse:
    token = token_of_text(text=request.GET["token"])
    if token is None:
        return _unknown_token(request)
    study = token.study_ref
    _record(request, USED, token, study=study)
    response = redirect(viewer_address(request, [study.study_instance_uid]))
    guests.remember(request, response, guests.grant(token=token), embeds=False)
    return response


def _open_signed(request: HttpRequest) -> HttpResponse:
    parameters = {name: values[0] for name, values in request.GET.lists() if len(values) == 1}
    signer: LinkSigner | None = None
    try:
        if len(parameters) != len(request.GET):
            raise NotAllowed(_("This link is not valid."))
        signer = links.signer_of(path=request.path, parameters=parameters)
        subject = links.subject_of(signer=signer, parameters=parameters)
    except links.LinkExpired as error:
        return _not_opened(request, error, error.facts["signer"], status=410)
    except NotAllowed as error:
        return _count_wrong(request) or _not_opened(request, error, signer)
    except RadiologyError as error:
        return _not_opened(request, error, signer)
    studies = [] if subject.patient else [study.pk for study in subject.studies]
    patient = subject.patient.pk if subject.patient else 0
    first = subject.studies[0] if subject.studies else None
    mark = {"signature": parameters["signature"][:8]}
    _record(request, LINK_USED, signer, study=None if patient else first, patient=patient, detail=mark)
    uids = [study.study_instance_uid for study in subject.studies]
    if subject.patient and (request.path == links.LIST or len(uids) != 1):
        address = f"{reverse('studies')}?{urlencode({'patient': str(subject.patient.public_id)})}"
    else:
        address = viewer_address(request, uids)
    response = redirect(address)
    grant = guests.grant(signer=signer, studies=studies, patient=patient)
    guests.remember(request, response, grant, embeds=bool(signer.frame_ancestors))
    return response


def _unknown_token(request: HttpRequest) -> HttpResponse:
    _record(request, USED, None)
    return _count_wrong(request) or _refused(request, 404, _("This link is not valid."), again=True)


def _not_opened(
    request: HttpRequest, error: RadiologyError, signer: LinkSigner | None, status: int = 0
) -> HttpResponse:
    _record(request, LINK_USED, signer, detail={"why": type(error).__name__})
    response = _refused(request, status or outcome_of(error).http, error.message, again=isinstance(error, NotAllowed))
    guests.may_embed(response, signer.frame_ancestors if signer else [])
    return response


def _count_wrong(request: HttpRequest) -> HttpResponse | None:
    """One more that was wrong from this address; 429 where there were too many. Right ones are never refused."""
    key = f"wrong-links:{audit.address_of(request)}"
    wrong = cache.get(key, 0) + 1
    cache.set(key, wrong, WRONG_WITHIN)
    if wrong <= WRONG:
        return None
    message = _("Too many links that are not valid came from your address. Wait five minutes.")
    response = _refused(request, 429, message)
    response["Retry-After"] = str(WRONG_WITHIN)
    return response


def _refused(request: HttpRequest, status: int, message: str, *, again: bool = False) -> HttpResponse:
    return render(request, "pacs/link_refused.html", {"message": message, "again": again}, status=status)


def _with_no_trace(response: Any) -> Any:
    response["Referrer-Policy"] = "no-referrer"
    return response


def _record(
    request: HttpRequest,
    event: str,
    by: StudyToken | LinkSigner | None,
    *,
    study: Study | None = None,
    patient: int = 0,
    detail: dict[str, str] | None = None,
) -> None:
    """That a token or link was used: by whom it was made, by whom it is used if that one is signed in, from where."""
    user = request.user if request.user.is_authenticated else None
    opens = study is not None or patient != 0
    audit.record(
        event=event,
        action=AuditAction.READ,
        who=user or (f"link of {by}" if isinstance(by, LinkSigner) else by),
        address=audit.address_of(request),
        site_id=study.site_id if study else getattr(by, "site_id", None),
        patient_id=study.patient_ref_id if study else patient or None,
        study_instance_uid=study.study_instance_uid if study else "",
        succeeded=opens,
        detail={**(detail or {}), **({"by": str(by)} if by else {})},
    )
