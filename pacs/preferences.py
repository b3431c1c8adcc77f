"""What people set for themselves in the list of studies: its columns, filters with a name, and what it opens with."""

from django.contrib.messages import ERROR
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from django_htmx.http import trigger_client_event

from pacs.forms import SavedFilterForm
from pacs.pages import next_address
from pacs.study_list import MOST_SAVED, keep_columns
from radiology.accounts import PageRequest, signed_in
from radiology.models import SavedFilter
from radiology.notices import say


@require_POST
@never_cache
@signed_in
def columns(request: PageRequest) -> HttpResponse:
    """Remembers which columns somebody wants; `reset` goes back to those of everybody."""
    keep_columns(user=request.user, names=None if "reset" in request.POST else request.POST.getlist("columns"))
    if request.htmx:
        return trigger_client_event(HttpResponse(status=204), "studies-changed")
    return redirect(next_address(request, reverse("studies")))


@require_POST
@never_cache
@signed_in
@transaction.atomic
def save_filter(request: PageRequest) -> HttpResponse:
    """Gives the search that is shown a name; the same name again keeps the newer search."""
    mine = request.user.saved_filters
    form = SavedFilterForm(request.POST)
    if not form.is_valid():
        say(request, " ".join(str(error) for errors in form.errors.values() for error in errors), level=ERROR)
        return redirect(next_address(request, reverse("studies")))
    name, query, is_default = (form.cleaned_data[field] for field in ("name", "query", "is_default"))
    if mine.exclude(name=name).count() >= MOST_SAVED:
        say(request, _("You have %(most)d saved filters: delete one first.") % {"most": MOST_SAVED}, level=ERROR)
        return redirect(next_address(request, reverse("studies")))
    if is_default:
        mine.update(is_default=False)
    mine.update_or_create(name=name, defaults={"query": query, "is_default": is_default})
    say(request, _("Saved as “%(name)s”.") % {"name": name})
    return redirect(f"{reverse('studies')}?{query}")


@require_POST
@never_cache
@signed_in
@transaction.atomic
def change_filter(request: PageRequest, pk: int) -> HttpResponse:
    """Makes a saved filter of one's own what the list opens with, or no longer, or deletes it."""
    saved = SavedFilter.objects.select_for_update().filter(pk=pk, user=request.user).first()
    if saved is None:
        say(request, _("This filter is not there any more."), level=ERROR)
    elif "delete" in request.POST:
        saved.delete()
        say(request, _("“%(name)s” is deleted.") % {"name": saved.name})
    else:
        chosen = "default" in request.POST
        request.user.saved_filters.update(is_default=False)
        SavedFilter.objects.filter(pk=saved.pk).update(is_default=chosen)
        text = _("The list opens with “%(name)s”.") if chosen else _("The list opens with all studies.")
        say(request, text % {"name": saved.name})
    return redirect(next_address(request, reverse("studies")))
