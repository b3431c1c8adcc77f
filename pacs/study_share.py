"""The dialog of a study's page that hands out its token, and takes it back."""

from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from pacs.api.sharing import token_addresses
from pacs.pages import refusal
from pacs.services.study_tokens import ask_for_token, revoke_token
from pacs.study_actions import Done, StudyAction
from radiology.accounts import PageRequest
from radiology.errors import NotFound
from radiology.services import audit


class Share(StudyAction):
    """Links that open the study without signing in; a post makes them worthless."""

    scope = "studies.share"
    template = "pacs/_share.html"
    title = gettext_lazy("Open without signing in")

    def get(self, request: PageRequest, **kwargs: Any) -> HttpResponse:
        try:
            return super().get(request, **kwargs)
        except NotFound as error:
            return refusal(request, 404, error.message)

    def describe(self) -> dict[str, Any]:
        token = ask_for_token(who=self.request.user, study=self.study, address=audit.address_of(self.request))
        return {"may_revoke": self.request.user.may("tokens.revoke"), **token_addresses(self.request, token)}

    def perform(self) -> Done:
        revoke_token(who=self.request.user, study=self.study, address=audit.address_of(self.request))
        address = reverse("study", args=[self.study.study_instance_uid])
        return Done(_("The links that were handed out open nothing any longer."), "", address)
