"""What pages share: saying what is wrong, and where a form leads on."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme


def refusal(request: HttpRequest, status: int, message: str, **facts: Any) -> HttpResponse:
    """A page that says what is wrong and what to do."""
    return render(request, "radiology/refusal.html", {"message": message, "status": status, **facts}, status=status)


def next_address(request: HttpRequest, otherwise: str) -> str:
    """Where a form that was posted leads on: its `next`, if that is a page of ours."""
    here = request.POST.get("next", "")
    allowed = url_has_allowed_host_and_scheme(here, {request.get_host()}, require_https=request.is_secure())
    return here if allowed else otherwise
