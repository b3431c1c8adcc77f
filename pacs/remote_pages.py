"""Pages that ask other archives: search one by C-FIND, fetch what is found."""

from typing import Any

from django import forms
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from pacs.dimse import scu_query
from pacs.models import ApplicationEntity
from pacs.pages import refusal
from pacs.services import transfers
from pacs.services.remote import RETURNED, RemoteCriteria, RemoteStudy, keys_of, study_of
from pacs.services.search_words import Meaning, understand
from radiology.accounts import PageRequest, signed_in
from radiology.errors import InvalidValue, RadiologyError, Unreachable, outcome_of
from radiology.models import AuditAction
from radiology.notices import say
from radiology.services import audit
from radiology.tasks import ring

# A page waits so long for another archive, and shows so many of its answers.
SECONDS = 15.0
MOST = 200
MOST_FETCHED = 50
KEYS = [
    ("j", gettext_lazy("Next study")),
    ("k", gettext_lazy("Previous study")),
    ("Enter", gettext_lazy("Mark the study")),
]


class NodeChoice(forms.ModelChoiceField):
    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.title} · {obj.description}" if obj.description else str(obj.title)


class RemoteSearchForm(forms.Form):
    """Where to ask, and for what."""

    node = NodeChoice(ApplicationEntity.objects.none(), label=gettext_lazy("Archive"))
    name = forms.CharField(label=gettext_lazy("Name"), max_length=64, required=False)
    patient_id = forms.CharField(label=gettext_lazy("MRN"), max_length=64, required=False)
    accession_number = forms.CharField(label=gettext_lazy("Accession"), max_length=16, required=False)
    modality = forms.RegexField(r"^[A-Za-z]{1,16}$", label=gettext_lazy("Modality"), required=False)
    start = forms.DateField(label=gettext_lazy("From"), required=False)
    end = forms.DateField(label=gettext_lazy("To"), required=False)

    def __init__(self, *args: Any, who: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["node"]
        field.queryset = transfers.archives_for(who=who)
        field.empty_label = None
        for name, each in self.fields.items():
            each.widget.attrs.update(
                {"class": "form-select" if name == "node" else "form-control", "autocomplete": "off"}
            )
            if "\\" in (self.data.get(name) or ""):
                self.add_error(name, _("A backslash has no place here."))
        for name in ("start", "end"):
            self.fields[name].widget = forms.DateInput(
                attrs={"class": "form-control", "type": "date"}, format="%Y-%m-%d"
            )

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        start, end = values.get("start"), values.get("end")
        if start and end and start > end:
            self.add_error("end", _("The last day lies before the first."))
        if not self.errors and not keys_of(self.criteria):
            raise forms.ValidationError(_("Say what to look for: a name, a number, a day or a modality."))
        return values

    @property
    def criteria(self) -> RemoteCriteria:
        values = self.cleaned_data
        return RemoteCriteria(
            name=values["name"],
            patient_id=values["patient_id"],
            accession_number=values["accession_number"],
            modality=values["modality"].upper(),
            start=values["start"],
            end=values["end"],
        )


def _initial(text: str) -> dict[str, Any]:
    """What the words of the study list's box mean in the fields of this form."""
    meant = understand(text[:200], timezone.localdate())
    found: dict[str, Any] = {
        "name": " ".join(term.value for term in meant.terms if term.meaning == Meaning.NAME),
        "patient_id": next((term.value for term in meant.terms if term.meaning == Meaning.NUMBER), ""),
        "modality": next(iter(meant.modalities), ""),
        "start": max((days.start for days in meant.days if days.start), default=None),
        "end": min((days.end for days in meant.days if days.end), default=None),
    }
    return found


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@signed_in
def remote(request: PageRequest) -> HttpResponse:
    """GET /remote: the form. POST: what the archive answers; names stay out of addresses and logs.

    POST with `text` comes from the study list, where it found nothing: the form is filled with it.
    """
    if "text" in request.POST:
        form = RemoteSearchForm(who=request.user, initial=_initial(request.POST["text"]))
    else:
        form = RemoteSearchForm(request.POST or None, who=request.user, initial={"node": request.GET.get("node")})
    has_nodes = transfers.archives_for(who=request.user).exists()
    context: dict[str, Any] = {"form": form, "has_nodes": has_nodes, "keys": KEYS, "most": MOST}
    if form.is_bound and form.is_valid():
        node = form.cleaned_data["node"]
        context |= {"node": node, "asked": True, "next": reverse("remote") + f"?node={node.pk}"}
        try:
            studies, has_more = _ask(request, node, form.criteria)
            context |= {"studies": studies, "has_more": has_more}
        except Unreachable as error:
            context["problem"] = error.message
    return render(request, "pacs/_remote.html" if request.htmx else "pacs/remote.html", context)


def _ask(request: PageRequest, node: ApplicationEntity, criteria: RemoteCriteria) -> tuple[list[RemoteStudy], bool]:
    keys = keys_of(criteria)
    found: list[Any] = []
    try:
        found = list(
            scu_query.find(node=node, level="STUDY", keys=keys, returned=RETURNED, limit=MOST + 1, seconds=SECONDS)
        )
    finally:
        audit.record(
            event="remote.find",
            action=AuditAction.EXECUTE,
            who=request.user,
            address=audit.address_of(request),
            site_id=node.site_id,
            detail={"node": node.title, "keys": sorted(keys), "answers": len(found)},
        )
    here = transfers.holdings(
        who=request.user, study_instance_uids=[str(answer.get("StudyInstanceUID") or "") for answer in found]
    )
    rows = {row.study_instance_uid: row for answer in found[:MOST] if (row := study_of(answer, here))}
    newest = sorted(rows.values(), key=lambda row: (row.study_date, row.study_time), reverse=True)
    return newest, len(found) > MOST


@require_POST
@never_cache
@signed_in
def fetch(request: PageRequest) -> HttpResponse:
    """POST /remote/fetch: begin to fetch the marked studies."""
    uids = list(dict.fromkeys(request.POST.getlist("StudyInstanceUIDs")))
    number = request.POST.get("node", "")
    node = None
    if number.isascii() and number.isdecimal() and len(number) < 19:
        node = transfers.archives_for(who=request.user).filter(pk=int(number)).first()
    try:
        if node is None:
            raise InvalidValue(_("Choose an archive."), field="node")
        if not 0 < len(uids) <= MOST_FETCHED:
            raise InvalidValue(_("Mark between one and %(most)d studies.") % {"most": MOST_FETCHED}, field="node")
        with transaction.atomic():
            begun = [
                transfers.fetch(
                    who=request.user,
                    node=node,
                    study_instance_uid=uid,
                    method=request.POST.get("method", ""),
                    description=request.POST.get(f"description {uid}", ""),
                    address=audit.address_of(request),
                )
                for uid in uids
            ]
    except RadiologyError as error:
        return refusal(request, outcome_of(error).http, error.message)
    ring()
    if len(begun) == 1:
        return redirect("transfer", begun[0].public_id)
    said = ngettext("%(count)d study is being fetched.", "%(count)d studies are being fetched.", len(begun))
    say(request, said % {"count": len(begun)})
    return redirect("transfers")
