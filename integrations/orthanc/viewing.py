"""The address of Orthanc's web viewer, which Khanza opens for a series: leads to this archive's viewer."""

from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from integrations.orthanc.access import ROOT, OfOneSite
from integrations.orthanc.lookup import find
from pacs.services.attributes import Level
from radiology.accounts import PageRequest, signed_in
from radiology.errors import NotFound
from radiology.orthanc_port import is_orthanc_port

ADDRESS = "web-viewer/app/viewer.html"


@require_safe
@never_cache
def open_series(request: HttpRequest) -> HttpResponseBase:
    """`?series=`: on the port where nobody can sign in, on to the pages; there to the viewer."""
    if is_orthanc_port(request.META):
        series = urlencode({"series": request.GET.get("series", "")[:64]})
        return HttpResponseRedirect(f"{_origin_of_pages(request)}{ROOT}/{ADDRESS}?{series}")
    return _open_here(request)


@signed_in
def _open_here(request: PageRequest) -> HttpResponse:
    try:
        series = find(OfOneSite(request.user), Level.SERIES, request.GET.get("series", ""))
    except NotFound as error:
        raise Http404(error.message) from error
    named = {
        "StudyInstanceUIDs": series.study_ref.study_instance_uid,
        "initialSeriesInstanceUID": series.series_instance_uid,
    }
    return HttpResponseRedirect(f"/viewer?{urlencode(named)}")


def _origin_of_pages(request: HttpRequest) -> str:
    """Where people reach the pages: the first trusted origin, else the same host at the port of the pages."""
    named = [origin for origin in settings.CSRF_TRUSTED_ORIGINS if "*" not in origin]
    if named:
        return str(named[0]).rstrip("/")
    host = request.get_host()
    bare = host[: host.rindex("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return f"{request.scheme}://{bare}:{settings.SINAR_HTTP_PORT}"
