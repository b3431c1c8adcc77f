"""The cards of the board, written by hand: five hundred of them are asked for again and again, and a template
takes several times as long. Whatever a card says is escaped here.
"""

import uuid
from collections.abc import Iterable
from html import escape
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from radiology.models import Priority
from radiology.templatetags.sinar import age, icon, sex
from worklist.models import Room, StepStatus
from worklist.services.board import Card

_NOBODY = uuid.UUID(int=0)
# What one press does, by the group of a card: the state, the key, the kind of button.
_MOVES = {
    "scheduled": ((StepStatus.ARRIVED, "a", "btn btn-sm"), (StepStatus.STARTED, "s", "btn btn-sm btn-ghost-secondary")),
    "arrived": ((StepStatus.STARTED, "s", "btn btn-sm"),),
    "started": ((StepStatus.COMPLETED, "d", "btn btn-sm"),),
}
_URGENT = {Priority.STAT, Priority.HIGH}


def _pattern(name: str) -> tuple[str, str]:
    """What stands before and behind the identifier in an address."""
    before, _found, behind = reverse(name, args=[_NOBODY]).partition(str(_NOBODY))
    return before, behind


class CardWriter:
    """Writes cards for one answer: `by` what the columns are, `address` where one comes back to, `token` for forms."""

    def __init__(
        self, *, by: str, address: str, token: str, rooms: Iterable[Room], may_move: bool, may_schedule: bool
    ) -> None:
        self.by = by
        self.may_move = may_move
        self.may_swap = may_schedule and by == "room"
        self.rooms = [
            (room.pk, f'<button name="room" value="{room.public_id}">{escape(room.name)}</button>') for room in rooms
        ]
        self.menus: dict[Any, str] = {}
        self.examination, self.patient = _pattern("examination"), _pattern("patient")
        self.move, self.room = _pattern("examination-move"), _pattern("examination-room")
        self.viewer = reverse("viewer")
        self.hidden = (
            f'<input type="hidden" name="csrfmiddlewaretoken" value="{escape(token)}">'
            f'<input type="hidden" name="next" value="{escape(address)}" data-here>'
        )
        self.states = {value: escape(str(label)) for value, label in StepStatus.choices}
        self.priorities = {value: escape(str(label)) for value, label in Priority.choices}
        names = ("alert-triangle", "clock", "circle-check", "circle-x", "photo", "arrows-exchange")
        self.icons = {name: str(icon(name)) for name in names}
        words = {StepStatus.ARRIVED: _("Arrived"), StepStatus.STARTED: _("Start"), StepStatus.COMPLETED: _("Done")}
        self.moves = {
            group: "".join(
                f'<button class="{kind}" name="to" value="{to}" data-key="{key}">{escape(words[to])}</button>'
                for to, key, kind in moves
            )
            for group, moves in _MOVES.items()
        }
        self.no_time, self.late = escape(_("no time")), f"{self.icons['clock']} {escape(_('late'))}"
        self.inferred = ' <span class="text-secondary" title="{}">{}</span>'.format(
            escape(_("Inferred from the images: the device did not report it.")), escape(_("(inferred)"))
        )
        self.patient_word, self.another_room = escape(_("Patient")), escape(_("Another room"))

    def write(self, cards: Iterable[Card]) -> SafeString:
        """The cards, one list item each."""
        return mark_safe("".join(self._card(card) for card in cards))  # noqa: S308 - each value is escaped below

    def _card(self, card: Card) -> str:
        step, procedure, patient = card.step, card.procedure, card.patient
        group = card.group
        classes = f"exam state-{group}"
        if card.is_urgent:
            classes += " is-urgent"
        if card.is_late or card.waits_long:
            classes += " is-late"
        drag = ""
        if card.can_swap:
            drag = f' data-step="{step.public_id}"' + (' draggable="true"' if self.may_swap else "")
        what = step.scheduled_procedure_step_description or procedure.requested_procedure_description
        side = f" · <strong>{escape(procedure.get_laterality_display())}</strong>" if procedure.laterality else ""
        born = f" · {escape(age(patient.birth_date))}" if patient.birth_date else ""
        return (
            f'<li class="{classes}" id="exam-{step.pk}" data-rowgroup{drag}>'
            f'<div class="exam-top">{self._top(card)}</div>'
            f'<a class="exam-name" id="exam-link-{step.pk}" data-row'
            f' href="{self.examination[0]}{step.public_id}{self.examination[1]}">{escape(patient.display_name)}</a>'
            f'<span class="exam-who">{escape(sex(patient.patient_sex))}{born} · '
            f'<span class="mrn">{escape(patient.patient_id) or "—"}</span></span>'
            f'<span class="exam-what"><span class="modality">{escape(step.modality)}</span> {escape(what)}{side}</span>'
            f'<span class="exam-where text-secondary">{self._where(card)}</span>'
            f"{self._warnings(card)}"
            f'<div class="exam-end">{self._images(card)}'
            f'<a class="visually-hidden" tabindex="-1" data-key="p"'
            f' href="{self.patient[0]}{patient.public_id}{self.patient[1]}">{self.patient_word}</a>'
            f"{self._swap(card)}{self._move(card, group)}</div></li>\n"
        )

    def _top(self, card: Card) -> str:
        step = card.step
        start = f"{timezone.localtime(step.scheduled_start):%H:%M}" if step.scheduled_start else self.no_time
        parts = [f'<span class="exam-time">{start}</span>']
        if card.order.priority in _URGENT:
            priority = self.priorities[card.order.priority]
            parts.append(f'<span class="urgent exam-priority">{self.icons["alert-triangle"]} {priority}</span>')
        if card.is_late:
            parts.append(f'<span class="waiting">{self.late}</span>')
        if card.waits_long and step.arrived_at:
            since = _("waits since %(since)s") % {"since": f"{timezone.localtime(step.arrived_at):%H:%M}"}
            parts.append(f'<span class="waiting">{self.icons["clock"]} {escape(since)}</span>')
        mark = {"done": self.icons["circle-check"], "problem": self.icons["circle-x"]}.get(card.group, "")
        inferred = self.inferred if step.is_inferred else ""
        parts.append(f'<span class="exam-state">{mark} {self.states[step.status]}{inferred}</span>')
        return " ".join(parts)

    def _where(self, card: Card) -> str:
        order = card.order
        parts = [card.step.room.name] if self.by != "room" and card.step.room else []
        parts += [order.accession_number or "—", order.current_patient_location, order.patient_transport_arrangements]
        return escape(" · ".join(part for part in parts if part))

    def _warnings(self, card: Card) -> str:
        parts = [
            f'<span class="exam-warning urgent">{self.icons["alert-triangle"]} {escape(str(warning))}</span>'
            for warning in card.warnings
        ]
        if card.step.status_reason and not card.says_reason:
            parts.append(f'<span class="exam-reason waiting">{escape(card.step.status_reason)}</span>')
        return "".join(parts)

    def _images(self, card: Card) -> str:
        if not card.images:
            return ""
        count = ngettext("%(count)s image", "%(count)s images", card.images) % {"count": card.images}
        address = f"{self.viewer}?StudyInstanceUIDs={escape(card.study)}"
        return f'<a class="exam-images" data-key="v" href="{address}">{self.icons["photo"]} {escape(count)}</a>'

    def _swap(self, card: Card) -> str:
        """The menu of the other rooms."""
        if not (self.may_swap and card.can_swap):
            return ""
        step = card.step
        menu = self.menus.get(step.room_id)
        if menu is None:
            menu = "".join(button for pk, button in self.rooms if pk != step.room_id)
            self.menus[step.room_id] = menu
        return (
            f'<details class="menu swap" id="swap-{step.pk}"><summary class="btn btn-sm btn-ghost-secondary">'
            f'{self.icons["arrows-exchange"]}<span class="visually-hidden">{self.another_room}</span></summary>'
            f'<form class="card" method="post" action="{self.room[0]}{step.public_id}{self.room[1]}">{self.hidden}'
            f'<input type="hidden" name="version" value="{step.version}">{menu}</form></details>'
        )

    def _move(self, card: Card, group: str) -> str:
        if not self.may_move:
            return ""
        step = card.step
        return (
            f'<form method="post" action="{self.move[0]}{step.public_id}{self.move[1]}">{self.hidden}'
            f'<input type="hidden" name="version" value="{step.version}">{self.moves.get(group, "")}</form>'
        )
