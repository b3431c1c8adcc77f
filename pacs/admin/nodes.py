"""DICOM nodes, and the button that shows whether one answers."""

import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelect2MultipleWidget

from pacs.dimse.scu import echo
from pacs.models import ApplicationEntity
from radiology.admin.people import SmallTable
from radiology.errors import Unreachable


def transfer_syntaxes() -> list[tuple[str, str]]:
    """Every transfer syntax that the standard knows, retired ones included, by name."""
    known = [UID(uid) for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"]
    return sorted(((str(uid), f"{uid.name} ({uid})") for uid in known), key=lambda choice: choice[1])


class ApplicationEntityForm(forms.ModelForm):
    transfer_syntaxes = forms.MultipleChoiceField(
        label=_("Transfer syntaxes"),
        choices=transfer_syntaxes,
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget,
        help_text=_("That it may use when it sends to us. None chosen: all."),
    )


# All nodes that are asked at once must have answered by then; a page does not wait longer.
ANSWER_SECONDS = 15.0
MOST_NODES = 20


def echo_all(nodes: Sequence[ApplicationEntity], *, seconds: float = ANSWER_SECONDS) -> dict[int, float | str]:
    """C-ECHO to all `nodes` side by side: by id, the seconds that the answer took, or why there is none."""
    answers: queue.SimpleQueue[tuple[int, float | str]] = queue.SimpleQueue()

    def ask(node: ApplicationEntity) -> None:
        started = time.monotonic()
        try:
            echo(node=node)
        except Unreachable as error:
            answers.put((node.pk, error.message))
        else:
            answers.put((node.pk, time.monotonic() - started))

    for node in nodes:
        threading.Thread(target=ask, args=(node,), name=f"echo-{node.pk}", daemon=True).start()
    found: dict[int, float | str] = {}
    deadline = time.monotonic() + seconds
    while len(found) < len(nodes):
        try:
            pk, answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[pk] = answer
    late = _("%(title)s has not answered within %(seconds)d seconds.")
    return {node.pk: found.get(node.pk, late % {"title": node.title, "seconds": seconds}) for node in nodes}


@admin.register(ApplicationEntity)
class ApplicationEntityAdmin(SmallTable):
    form = ApplicationEntityForm
    site_path = "site"
    list_display = ["title", "host", "port", "tls", "description", "site", "is_active"]
    list_filter = [
        "is_active",
        "priority",
        "tls",
        "may_store",
        "may_query",
        "may_retrieve",
        "may_receive",
        "may_commit",
        "may_report_steps",
        "site",
    ]
    list_select_related = ["site"]
    search_fields = ["title", "host", "description"]
    search_help_text = _("Title, host or description")
    ordering = ["title", "id"]
    actions = ["echo_selected"]
    actions_detail = ["echo_this"]
    fieldsets = (
        (
            None,
            {
                "description": _(
                    "A scanner, workstation or archive that we talk to. Enter the same title, address and port that it "
                    "has in its own configuration; there, enter ours."
                ),
                "fields": ("title", "host", "port", "tls", "description", "site", "is_active"),
            },
        ),
        (
            _("What it may do here"),
            {
                "fields": (
                    "may_store",
                    "may_commit",
                    "may_query",
                    "may_retrieve",
                    "may_report_steps",
                    "may_ask_worklist",
                    "may_receive",
                    "check_address",
                )
            },
        ),
        (_("What it is told"), {"fields": ("takes_availability", "takes_rejection_notes")}),
        (
            _("How much at once"),
            {
                "description": _(
                    "So that a migration never makes the emergency CT wait. Limits hold for all processes together."
                ),
                "fields": (
                    "priority",
                    "most_associations_from",
                    "most_associations_to",
                    "associations_per_transfer",
                    "receive_rate",
                    "send_rate",
                ),
            },
        ),
        (
            _("How it speaks"),
            {
                "classes": ["collapse"],
                "description": _("Leave these alone unless a device needs them."),
                "fields": (
                    "specific_character_set",
                    "transfer_syntaxes",
                    "issuer_of_patient_id",
                    "time_zone",
                    "empty_values_match",
                    "conflict_answer",
                ),
            },
        ),
    )

    def has_echo_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("pacs.change_applicationentity")

    @admin.action(description=_("C-ECHO: do they answer?"), permissions=["echo"])
    def echo_selected(self, request: HttpRequest, queryset: QuerySet[ApplicationEntity]) -> None:
        nodes = list(queryset[: MOST_NODES + 1])
        if len(nodes) > MOST_NODES:
            self.message_user(
                request, _("Choose at most %(number)d nodes at a time.") % {"number": MOST_NODES}, messages.ERROR
            )
            return
        answers = echo_all(nodes)
        for node in nodes:
            answer = answers[node.pk]
            if isinstance(answer, float):
                told = _("%(node)s answered in %(milliseconds)d ms.")
                self.message_user(
                    request, told % {"node": node, "milliseconds": round(answer * 1000)}, messages.SUCCESS
                )
            else:
                self.message_user(request, answer, messages.ERROR)

    @action(description=_("C-ECHO"), url_path="echo", icon="network_check", permissions=["echo"])
    def echo_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button on a node's page: its own answer, as saved."""
        node = self.get_object(request, object_id)
        if node is None:
            raise Http404
        self.echo_selected(request, ApplicationEntity.objects.filter(pk=node.pk))
        return redirect("admin:pacs_applicationentity_change", object_id)
