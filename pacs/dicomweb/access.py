"""Who may use the DICOMweb services, and how they are told that they may not."""

from collections.abc import Sequence
from typing import Any

from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.views import APIView

from pacs.guests import guest_of
from radiology.guest import Guest


class GuestAuthentication(BaseAuthentication):
    """The cookie of somebody who came by a token or a signed link."""

    def authenticate(self, request: Any) -> tuple[Any, Any] | None:
        guest = guest_of(request._request)
        return None if guest is None else (guest, None)


class MayUseStudies(BasePermission):
    """Reading needs the scope `studies.read`, storing `studies.write`, deleting `studies.delete`. Guests only read."""

    def has_permission(self, request: Any, view: Any) -> bool:
        who = request.user
        if not (who and who.is_authenticated):
            return False
        if isinstance(who, Guest):
            return request.method in SAFE_METHODS
        if request.method in SAFE_METHODS:
            return who.may("studies.read")
        return who.may("studies.delete" if request.method == "DELETE" else "studies.write")


class DicomWebView(APIView):
    """What every DICOMweb view shares: the configured authentication, guests, `MayUseStudies`, no caching by others."""

    authentication_classes: Sequence[type[BaseAuthentication]] = [*APIView.authentication_classes, GuestAuthentication]
    permission_classes = [MayUseStudies]

    def perform_content_negotiation(self, request: Any, force: bool = False) -> Any:
        """Each service reads Accept by the rules of PS3.18 itself."""
        renderer = self.get_renderers()[0]
        return renderer, renderer.media_type

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        refusal = getattr(request._request, "refusal", None)
        if refusal is not None:  # it was worked out the short way (radiology.straight)
            raise refusal

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers.setdefault("Cache-Control", "private, no-cache")
        patch_vary_headers(response, ["Accept"])
        if response.status_code == 401 and request.META.get("HTTP_SEC_FETCH_MODE", "navigate") != "navigate":
            # A page's own request: with Basic among the challenges the browser would open its password box.
            response.headers["WWW-Authenticate"] = 'Bearer realm="Sinar"'
        return _without_body(response) if request.method == "HEAD" else response


def _without_body(response: Any) -> Any:
    """What HEAD is answered: the headers of GET. A stream is given up, not run to its end."""
    if not response.streaming and not response.content:
        return response
    bare = HttpResponse(status=response.status_code, headers=dict(response.headers))
    bare.cookies = response.cookies
    if response.streaming:
        response.close()
    else:
        bare.headers.setdefault("Content-Length", str(len(response.content)))
    return bare
