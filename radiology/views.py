from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from radiology.forms import PreferencesForm
from radiology.models import User
from radiology.templatetags.sinar import THEME_COOKIE

A_YEAR = 365 * 24 * 3600


@require_POST
def preferences(request: HttpRequest) -> HttpResponse:
    """Remembers a theme or a language: for strangers in the browser, for people in their account too."""
    form = PreferencesForm(request.POST)
    chosen = form.cleaned_data if form.is_valid() else {}
    here = chosen.get("next", "")
    if not url_has_allowed_host_and_scheme(here, {request.get_host()}, require_https=request.is_secure()):
        here = "/"
    response = HttpResponseRedirect(here)
    values = {name: chosen[name] for name in ("theme", "language") if chosen.get(name)}
    if values and isinstance(request.user, User):
        User.objects.filter(pk=request.user.pk).update(**values)
    cookies = {"theme": THEME_COOKIE, "language": settings.LANGUAGE_COOKIE_NAME}
    for name, value in values.items():
        response.set_cookie(
            cookies[name], value, max_age=A_YEAR, secure=request.is_secure(), httponly=True, samesite="Lax"
        )
    return response
