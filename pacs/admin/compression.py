"""By which rules images are compressed, what that saved, and which objects stay as they are."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from pacs.models import Compression, CompressionOutcome, CompressionRule, NativeSyntax
from pacs.services.compression import forget, save_rule
from radiology.admin.model_admin import SinarModelAdmin, ViewOnly
from radiology.admin.people import SmallTable

MOST_FORGOTTEN = 1000


class CompressionRuleForm(forms.ModelForm):
    class Meta:
        widgets: ClassVar[dict[str, Any]] = {
            "modalities": UnfoldAdminTextInputWidget,
            "sop_class_uids": UnfoldAdminTextInputWidget,
        }

    received_in = forms.MultipleChoiceField(
        label=_("Received in"),
        choices=NativeSyntax.choices,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_("Transfer syntaxes. None chosen: both."),
    )

    def clean_modalities(self) -> list[str]:
        return [text.upper() for text in self.cleaned_data["modalities"]]


@admin.register(CompressionRule)
class CompressionRuleAdmin(SmallTable):
    form = CompressionRuleForm
    site_path = "site"
    list_display = [
        "name",
        "site",
        "is_active",
        "of",
        "older_than_days",
        "transfer_syntax_uid",
        "objects_compressed",
        "saved",
    ]
    list_filter = ["site", "is_active"]
    list_select_related = ["site"]
    search_fields = ["name"]
    ordering = ["id"]
    readonly_fields = ["objects_compressed", "objects_left", "before", "after", "saved"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "Images that devices sent uncompressed become smaller on the disk, without any loss: each one is "
                    "decoded again and compared with the original, pixel by pixel, before the original goes. Who asks "
                    "for them uncompressed gets them so. Of several rules that fit an image, the first one made acts."
                ),
                "fields": ("name", "site", "is_active"),
            },
        ),
        (
            _("Which images"),
            {"fields": ("modalities", "sop_class_uids", "received_in", "older_than_days")},
        ),
        (_("How"), {"fields": ("transfer_syntax_uid",)}),
        (
            _("What it has done"),
            {"fields": ("objects_compressed", "objects_left", "before", "after", "saved")},
        ),
    )

    @admin.display(description=_("modalities"))
    def of(self, rule: CompressionRule) -> str:
        return ", ".join(rule.modalities) or str(_("all modalities"))

    @admin.display(description=_("before"))
    def before(self, rule: CompressionRule) -> Any:
        return filesizeformat(rule.bytes_before)

    @admin.display(description=_("after"))
    def after(self, rule: CompressionRule) -> Any:
        return filesizeformat(rule.bytes_after)

    @admin.display(description=_("saved"))
    def saved(self, rule: CompressionRule) -> str:
        share = f" ({100 * rule.saved // rule.bytes_before} %)" if rule.bytes_before else ""
        return f"{filesizeformat(rule.saved)}{share}"

    def save_model(self, request: HttpRequest, obj: CompressionRule, form: Any, change: bool) -> None:
        save_rule(obj)


class OutcomeFilter(admin.SimpleListFilter):
    title = _("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(CompressionOutcome.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Compression]) -> QuerySet[Compression]:
        return queryset.filter(outcome=self.value()) if self.value() else queryset


@admin.register(Compression)
class CompressionAdmin(ViewOnly, SinarModelAdmin):
    """What was looked at, and what came of it."""

    site_path = "location__instance_ref__site"
    list_display = ["created_at", "shown_outcome", "detail", "transfer_syntax_uid", "received", "now", "location"]
    list_filter = [OutcomeFilter]
    list_select_related = ["location"]
    search_fields = ["=location__instance_ref__sop_instance_uid"]
    search_help_text = _("SOP Instance UID")
    actions = ["look_again"]
    fields = [
        "instance",
        "outcome",
        "detail",
        "transfer_syntax_uid",
        "received_transfer_syntax_uid",
        "received",
        "digest",
        "now",
        "created_at",
    ]

    @display(
        description=_("outcome"),
        label={
            CompressionOutcome.COMPRESSED: "success",
            CompressionOutcome.NOT_SMALLER: "info",
            CompressionOutcome.UNSUITABLE: "info",
            CompressionOutcome.DIFFERENT: "warning",
            CompressionOutcome.DAMAGED: "danger",
        },
    )
    def shown_outcome(self, done: Compression) -> tuple[str, str]:
        return done.outcome, done.get_outcome_display()

    @admin.display(description=_("received"))
    def received(self, done: Compression) -> Any:
        return filesizeformat(done.received_size)

    @admin.display(description=_("now"))
    def now(self, done: Compression) -> Any:
        return filesizeformat(done.location.size)

    @admin.display(description=_("instance"))
    def instance(self, done: Compression) -> str:
        return done.location.instance_ref.sop_instance_uid

    @admin.display(description=_("SHA-256 as received"))
    def digest(self, done: Compression) -> str:
        return bytes(done.received_sha256).hex()

    def has_again_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("pacs.change_compressionrule")

    @admin.action(description=_("Look at them again"), permissions=["again"])
    def look_again(self, request: HttpRequest, queryset: QuerySet[Compression]) -> None:
        count = forget(list(queryset[:MOST_FORGOTTEN]))
        told = ngettext(
            "%(count)d object will be looked at again.", "%(count)d objects will be looked at again.", count
        )
        self.message_user(request, told % {"count": count}, messages.SUCCESS)
