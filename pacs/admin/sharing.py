"""Tokens that open studies, and the systems that sign links."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from pacs.models import LinkSigner, StudyToken
from pacs.services.links import new_secret
from pacs.services.study_tokens import revoke_token
from radiology.admin.model_admin import NeverDeleted, SinarModelAdmin, ViewOnly
from radiology.admin.people import SmallTable
from radiology.services import audit

MOST_SECRETS = 5


@admin.register(StudyToken)
class StudyTokenAdmin(ViewOnly, SinarModelAdmin):
    """What was handed out; the token itself is kept nowhere."""

    site_path = "study_ref__site"
    list_display = ["study_ref", "generation", "created_at", "revoked_at", "study_instance_uid"]
    list_select_related = ["study_ref"]
    search_fields = ["=study_ref__study_instance_uid", "=study_ref__accession_number"]
    search_help_text = _("Study Instance UID or accession number, in full")
    actions = ["revoke"]

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("pacs.change_studytoken")

    @admin.display(description=_("Study Instance UID"))
    def study_instance_uid(self, token: StudyToken) -> str:
        return str(token.study_ref.study_instance_uid)

    @admin.action(description=_("Revoke: what was handed out opens nothing from now on"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[StudyToken]) -> None:
        rows = list(queryset.select_related("study_ref")[:1000])
        for token in rows:
            revoke_token(who=request.user, study=token.study_ref, address=audit.address_of(request))
        told = ngettext("%(count)d token was revoked.", "%(count)d tokens were revoked.", len(rows))
        self.message_user(request, told % {"count": len(rows)}, messages.SUCCESS)


@admin.register(LinkSigner)
class LinkSignerAdmin(NeverDeleted, SmallTable):
    site_path = "client__site"
    list_display = ["client", "frame_ancestors", "has_secret", "secret_changed_at"]
    list_select_related = ["client"]
    search_fields = ["client__name"]
    ordering = ["client__name", "id"]
    readonly_fields = ["secret_changed_at"]
    actions = ["make_secret"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "A hospital system that puts links to images into its own pages: they open without signing in. It "
                    "signs them with a secret that both sides have, which is shown once, after saving. “New secret” in "
                    "the list makes another one, which ends every link that was signed with the one before; so does "
                    "making the client inactive."
                ),
                "fields": ("client", "frame_ancestors", "secret_changed_at"),
            },
        ),
    )

    @admin.display(description=_("has a secret"), boolean=True)
    def has_secret(self, signer: LinkSigner) -> bool:
        return bool(signer.secret_encrypted)

    def has_secret_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("pacs.change_linksigner")

    def save_model(self, request: HttpRequest, obj: LinkSigner, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            self._show_new(request, obj)

    @admin.action(description=_("New secret: links signed with the one before end"), permissions=["secret"])
    def make_secret(self, request: HttpRequest, queryset: QuerySet[LinkSigner]) -> None:
        for signer in queryset.select_related("client")[:MOST_SECRETS]:
            self._show_new(request, signer)

    def _show_new(self, request: HttpRequest, signer: LinkSigner) -> None:
        text = new_secret(who=request.user, client=signer.client, address=audit.address_of(request))
        told = _("%(client)s: copy this secret now, it is not shown again: %(secret)s")
        messages.warning(request, told % {"client": signer.client, "secret": text}, extra_tags="token")
