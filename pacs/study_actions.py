"""What may be done with a study, each as a form that says what will happen and can be taken back."""

import uuid
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django.contrib.messages import ERROR
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from django_htmx.http import HttpResponseClientRedirect

from pacs.models import Correction, Instance, Removal, RemovalCode, Series, Study
from pacs.pages import next_address, refusal
from pacs.services import corrections, removal, search
from pacs.services.history import correction_of, latest_correction
from pacs.services.patient_search import find_patients
from pacs.study_fields import Fields, series_fields, study_fields
from pacs.study_list import list_address
from radiology.accounts import PageRequest, signed_in
from radiology.dicom import is_uid
from radiology.errors import Conflict, InvalidValue, NotAllowed, NotFound, RadiologyError, outcome_of
from radiology.models import Patient
from radiology.notices import say
from radiology.services import audit

OTHERS = 24
NOTE_CODES = (RemovalCode.QUALITY, RemovalCode.PATIENT_SAFETY, RemovalCode.WORKLIST_ENTRY, RemovalCode.EXPIRED)


@dataclass(frozen=True)
class Done:
    """What to say, what takes it back, and where to go on."""

    message: str
    undo: str
    address: str


@dataclass
class Shown:
    """What a form shows: of a first look, or again with what was typed and what was wrong."""

    error: RadiologyError | None = None
    latest: Correction | None = None
    context: dict[str, Any] = field(default_factory=dict)


@method_decorator([never_cache, signed_in], name="dispatch")
class StudyAction(View):
    """A form about one study: a page of its own, and the same inside a dialog of the study's page."""

    scope = "studies.correct"
    template: ClassVar[str]
    title: ClassVar[Any]
    study: Study
    request: PageRequest

    def dispatch(self, request: Any, study_instance_uid: str, **kwargs: Any) -> Any:
        found = (
            Study.objects.visible_to(request.user)
            .filter(study_instance_uid=study_instance_uid)
            .select_related("patient_ref", "site", "requested_procedure_ref")
            .first()
        )
        if found is None:
            return refusal(request, 404, _("This study is not here, or not for you to see."))
        if not request.user.may(self.scope):
            return refusal(request, 403, _("Your role does not change studies."))
        self.study = found
        return super().dispatch(request, **kwargs)

    def get(self, request: PageRequest, **kwargs: Any) -> HttpResponse:
        return self._render(Shown(context=self.describe()))

    def post(self, request: PageRequest, **kwargs: Any) -> HttpResponse:
        try:
            done = self.perform()
        except RadiologyError as error:
            latest = latest_correction(self.study) if isinstance(error, Conflict) else None
            return self._render(Shown(error, latest, self.describe()), outcome_of(error).http)
        if done is None:
            return self._render(Shown(context=self.describe()))
        say(request, done.message, undo=done.undo)
        return HttpResponseClientRedirect(done.address) if request.htmx else redirect(done.address)

    def describe(self) -> dict[str, Any]:
        """What the form shows besides the study."""
        return {}

    def perform(self) -> Done | None:
        """Does it. None when there is more to ask first."""
        raise NotImplementedError

    @property
    def version(self) -> int:
        return _whole(self.request.POST.get("version", ""))

    @property
    def common(self) -> dict[str, Any]:
        """What every service takes."""
        return {
            "who": self.request.user,
            "reason": self.request.POST.get("reason", ""),
            "address": audit.address_of(self.request),
        }

    def corrected(self, correction: Correction, message: str, address: str = "") -> Done:
        uid = self.study.study_instance_uid
        undo = reverse("study-undo", args=[uid, correction.public_id])
        return Done(message, undo, address or reverse("study", args=[uid]))

    def series_chosen(self) -> list[Series]:
        keys = [int(key) for key in self.request.POST.getlist("series") if key.isascii() and key.isdigit()][:2000]
        return list(self.series().filter(pk__in=keys).select_related("study_ref"))

    def series(self) -> Any:
        rows = Series.objects.visible_to(self.request.user).filter(study_ref=self.study, removed_at=None)
        return rows.defer("attributes").order_by("series_number", "pk")

    def _render(self, shown: Shown, status: int = 200) -> HttpResponse:
        self.study.refresh_from_db(fields=["version"])
        context = {
            "study": self.study,
            "patient": self.study.patient_ref,
            "title": self.title,
            "form_template": self.template,
            "error": shown.error,
            "latest": shown.latest,
            "typed": self.request.POST,
            "dialog": bool(self.request.htmx),
            **shown.context,
        }
        template = "pacs/_action.html" if self.request.htmx else "pacs/action.html"
        return render(self.request, template, context, status=status)


class CorrectStudy(StudyAction):
    """Accession, description, date and time, ID, referring physician."""

    template = "pacs/_correct_fields.html"
    title = gettext_lazy("Correct the study")

    def fields(self) -> Fields:
        return study_fields(self.study)

    def describe(self) -> dict[str, Any]:
        posted = self.request.POST if self.request.method == "POST" else None
        return {"fields": self.fields().shown(posted)}

    def perform(self) -> Done:
        changes = self.fields().changes(self.request.POST)
        correction = corrections.correct_study(study=self.study, version=self.version, changes=changes, **self.common)
        return self.corrected(correction, _("The study is corrected."))


class CorrectSeries(CorrectStudy):
    """Description, laterality, body part, number of one series."""

    title = gettext_lazy("Correct the series")

    def fields(self) -> Fields:
        found = self.series().filter(pk=self.kwargs["pk"]).select_related("study_ref").first()
        if found is None:
            raise NotFound(_("This series is not here, or not for you to see."))
        self.one = found
        return series_fields(found)

    def get(self, request: PageRequest, **kwargs: Any) -> HttpResponse:
        try:
            return super().get(request, **kwargs)
        except NotFound as error:
            return refusal(request, 404, error.message)

    def post(self, request: PageRequest, **kwargs: Any) -> HttpResponse:
        try:
            return super().post(request, **kwargs)
        except NotFound as error:
            return refusal(request, 404, error.message)

    def perform(self) -> Done:
        changes = self.fields().changes(self.request.POST)
        correction = corrections.correct_series(series=self.one, version=self.version, changes=changes, **self.common)
        return self.corrected(correction, _("The series is corrected."))


class OtherPatient(StudyAction):
    """Whose study it is."""

    template = "pacs/_correct_patient.html"
    title = gettext_lazy("Another patient")

    def describe(self) -> dict[str, Any]:
        text = self.request.POST.get("search", "")[:200]
        found = find_patients(who=self.request.user, site=self.study.site_id, text=text) if text.strip() else []
        return {
            "search": text,
            "found": [each for each in found if each.pk != self.study.patient_ref_id],
            "asked": bool(text.strip()),
            "loses_order": self.study.requested_procedure_ref is not None,
        }

    def perform(self) -> Done | None:
        if "do" not in self.request.POST:
            return None  # still searching
        chosen = self.request.POST.get("patient", "")
        found = Patient.objects.visible_to(self.request.user).filter(public_id=_uuid(chosen)).first()
        if found is None:
            raise NotFound(_("This patient is not here, or not for you to see."))
        correction = corrections.assign_patient(study=self.study, version=self.version, patient=found, **self.common)
        return self.corrected(correction, _("The study is %(name)s's now.") % {"name": found.display_name})


class _Towards(StudyAction):
    """Something goes into another study."""

    def describe(self) -> dict[str, Any]:
        others = (
            Study.objects.visible_to(self.request.user)
            .filter(patient_ref=self.study.patient_ref_id)
            .exclude(pk=self.study.pk)
            .select_related("site", "patient_ref")
            .order_by("-sort_at", "-pk")
        )
        marked = set(self.request.POST.getlist("series"))
        return {"others": others[:OTHERS], "series": self.series()[:500], "marked": marked}

    def target(self) -> Study:
        """The study that was chosen, or named by its accession number or UID."""
        into = self.request.POST.get("into", "")
        name = self.request.POST.get("other", "").strip()
        who = self.request.user
        if into == "other":
            if not name:
                raise InvalidValue(_("Type the accession number or the Study Instance UID."), field="other")
            if is_uid(name) and "." in name:
                found = list(Study.objects.visible_to(who).filter(study_instance_uid=name)[:2])
            else:
                found = search.studies_of_accession(who=who, accession_number=name)
            if len(found) != 1:
                message = _("No study has this number.") if not found else _("Several studies have it: type the UID.")
                raise InvalidValue(message, field="other")
            return found[0]
        chosen = Study.objects.visible_to(who).filter(study_instance_uid=into[:64]).first()
        if chosen is None:
            raise InvalidValue(_("Choose the study that they go to."), field="into")
        return chosen


class Split(_Towards):
    """Some series go into a new study, or into another one."""

    template = "pacs/_correct_split.html"
    title = gettext_lazy("Split: move series")

    def perform(self) -> Done:
        chosen = self.series_chosen()
        if not chosen:
            raise InvalidValue(_("Choose the series that go."), field="series")
        into = None if self.request.POST.get("into") == "new" else self.target()
        correction = corrections.move_series(series=chosen, version=self.version, into=into, **self.common)
        words = ngettext("%(count)d series moved.", "%(count)d series moved.", len(chosen)) % {"count": len(chosen)}
        return self.corrected(correction, words)


class Merge(_Towards):
    """All of it goes into another study."""

    template = "pacs/_correct_merge.html"
    title = gettext_lazy("Merge into another study")

    def perform(self) -> Done:
        into = self.target()
        correction = corrections.merge_studies(study=self.study, version=self.version, into=into, **self.common)
        uid = into.study_instance_uid
        return Done(
            _("The study is part of this one now."),
            reverse("study-undo", args=[uid, correction.public_id]),
            reverse("study", args=[uid]),
        )


class Reject(StudyAction):
    """Images, series or the whole study are rejected, with a note that says why (IHE IOCM)."""

    template = "pacs/_reject.html"
    title = gettext_lazy("Reject images")

    def describe(self) -> dict[str, Any]:
        codes = [(code.value, code.label) for code in NOTE_CODES]
        return {"codes": codes, "series": self.series()[:500], "image": self._image(), "chosen": self._keys()}

    def perform(self) -> Done:
        post = self.request.POST
        code = post.get("code", "")
        if code not in {each.value for each in NOTE_CODES}:
            raise InvalidValue(_("Choose why."), field="code")
        image, chosen = self._image(), self.series_chosen()
        if image is None and not chosen and post.get("what") != "study":
            raise InvalidValue(_("Choose what is rejected."), field="series")
        whole = post.get("what") == "study"
        made = removal.reject(
            study=self.study,
            code=RemovalCode(code),
            instances=[image] if image else [],
            series=[] if image or whole else chosen,
            **self.common,
        )
        uid = self.study.study_instance_uid
        stays = Study.objects.visible_to(self.request.user).filter(pk=self.study.pk).exists()
        return Done(
            _("Rejected: shown nowhere any more."),
            reverse("study-restore", args=[uid, made.public_id]),
            reverse("study", args=[uid]) if stays else list_address({}),
        )

    def _image(self) -> Instance | None:
        name = self.request.POST.get("instance", "") or self.request.GET.get("instance", "")
        if not name:
            return None
        wanted = Instance.objects.visible_to(self.request.user).filter(series_ref__study_ref=self.study)
        return wanted.select_related("series_ref").filter(sop_instance_uid=name[:64]).first()

    def _keys(self) -> set[str]:
        return set(self.request.POST.getlist("series") or self.request.GET.getlist("series"))


class Delete(StudyAction):
    """The whole study goes out of sight."""

    scope = "studies.delete"
    template = "pacs/_delete.html"
    title = gettext_lazy("Delete the study")

    def perform(self) -> Done:
        made = removal.delete_study(study=self.study, **self.common)
        uid = self.study.study_instance_uid
        return Done(_("The study is deleted."), reverse("study-restore", args=[uid, made.public_id]), list_address({}))


@require_POST
@never_cache
@signed_in
def undo(request: PageRequest, study_instance_uid: str, public_id: str) -> HttpResponse:
    """POST: take a correction of the study back."""
    address = reverse("study", args=[study_instance_uid])
    try:
        correction = correction_of(who=request.user, public_id=uuid.UUID(public_id))
        corrections.undo(who=request.user, correction=correction, address=audit.address_of(request))
    except NotFound as error:
        return refusal(request, 404, error.message)
    except RadiologyError as error:
        say(request, error.message, level=ERROR)
    else:
        say(request, _("Taken back: the study is as before."))
    return redirect(next_address(request, address))


@require_POST
@never_cache
@signed_in
def restore(request: PageRequest, study_instance_uid: str, public_id: str) -> HttpResponse:
    """POST: bring back what was rejected or deleted."""
    found = Removal.objects.filter(public_id=public_id, study_instance_uid=study_instance_uid).first()
    try:
        if found is None:
            raise NotFound(_("There is nothing of this kind to restore."))
        removal.restore(who=request.user, removal=found, address=audit.address_of(request))
    except (NotFound, NotAllowed) as error:
        return refusal(request, outcome_of(error).http, error.message)
    except RadiologyError as error:
        say(request, error.message, level=ERROR)
    else:
        say(request, _("Restored."))
    return redirect(next_address(request, reverse("study", args=[study_instance_uid])))


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidValue(_("This page is out of date: load it again."), field="version")
    return int(text)


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise InvalidValue(_("Choose a patient."), field="patient") from error
