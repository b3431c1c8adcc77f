"""How values look on a page: icons, names, ages, dates."""

import json
import re
import uuid
import zoneinfo
from datetime import date, datetime
from typing import Any

from django import template
from django.contrib.messages.storage.base import Message
from django.http import HttpRequest
from django.templatetags.static import static
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import npgettext, pgettext

from radiology.dicom import PersonName, parse_da
from radiology.models import Role, Theme
from radiology.notices import UNDO

register = template.Library()
MOMENT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z)")

THEME_COOKIE = "sinar_theme"
DARK_BY_ROLE = "dark_by_role"


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """A drawing from the sprite. Without `label` it is decoration, and a word must stand beside it."""
    address = f"{static('vendor/icons.svg')}#{name}"
    if label:
        drawing = '<svg class="icon" role="img" aria-label="{}"><use href="{}"/></svg>'
        return format_html(drawing, label, address)
    return format_html('<svg class="icon" aria-hidden="true"><use href="{}"/></svg>', address)


@register.filter
def person_name(value: str) -> str:
    """A PN value as people write it."""
    return PersonName(value or "").display


@register.filter
def sex(value: str) -> str:
    """PatientSex (0010,0040) as one letter."""
    letters = {
        "M": pgettext("sex, one letter", "M"),
        "F": pgettext("sex, one letter", "F"),
        "O": pgettext("sex, one letter", "O"),
    }
    return letters.get(value, "?")


@register.filter
def sex_name(value: str) -> str:
    """PatientSex (0010,0040) as a word."""
    names = {
        "M": pgettext("sex", "Male"),
        "F": pgettext("sex", "Female"),
        "O": pgettext("sex", "Other"),
    }
    return names.get(value, pgettext("sex", "Unknown"))


@register.filter
def age(born: date | None, on: date | datetime | None = None) -> str:
    """Years; months below two years, days below one month. Empty when nobody knows or it makes no sense."""
    if born is None:
        return ""
    day = timezone.localtime(on).date() if isinstance(on, datetime) else on or timezone.localdate()
    if born > day:
        return ""
    months = (day.year - born.year) * 12 + day.month - born.month - (day.day < born.day)
    if months >= 24:
        return npgettext("age", "%(count)d y", "%(count)d y", months // 12) % {"count": months // 12}
    if months >= 1:
        return npgettext("age", "%(count)d mo", "%(count)d mo", months) % {"count": months}
    days = (day - born).days
    return npgettext("age", "%(count)d d", "%(count)d d", days) % {"count": days}


@register.filter
def local_moments(text: str) -> str:
    """A line of the history whose moments, kept in UTC, read by the clock of the place."""

    def local(found: re.Match[str]) -> str:
        try:
            return formats.date_format(timezone.localtime(datetime.fromisoformat(found[0])), "j M Y H:i")
        except (ValueError, OverflowError):
            return found[0]

    return MOMENT.sub(local, text)


@register.filter
def dicom_date(value: str) -> str:
    """A DA value as the hospital writes dates; what is no date stays as it came."""
    day = parse_da(value or "")
    return formats.date_format(day, "j M Y") if day else value or ""


def moment_of(study: Any) -> datetime:
    """When a study was made, in its site's zone; without a study date, when it arrived."""
    zone = zoneinfo.ZoneInfo(study.site.time_zone)
    return timezone.localtime(study.study_datetime or study.created_at, zone)


@register.filter
def study_day(study: Any) -> str:
    """The day of a study in its site's zone; without a study date, the day of arrival."""
    return formats.date_format(moment_of(study), "j M Y")


@register.filter
def study_time(study: Any) -> str:
    """The time of a study in its site's zone; empty when it has a date without a time."""
    if study.study_datetime and not study.study_time:
        return ""
    return formats.date_format(moment_of(study), "H:i")


@register.simple_tag(takes_context=True)
def theme_attributes(context: dict[str, Any]) -> SafeString:
    """Attributes of the html element: the theme that was chosen, and what to do when none was."""
    request: HttpRequest | None = context.get("request")
    user = getattr(request, "user", None)
    choice, dark_by_role = Theme.AUTO.value, False
    if request is not None:
        choice = request.COOKIES.get(THEME_COOKIE, choice)
    if request is not None and user is not None and user.is_authenticated:
        choice = user.theme
        if choice == Theme.AUTO:
            dark_by_role = _reads_in_the_dark(request)
    if choice not in Theme.values:
        choice = Theme.AUTO.value
    shown = "dark" if choice == Theme.DARK or (choice == Theme.AUTO and dark_by_role) else "light"
    return format_html('data-theme="{}" data-bs-theme="{}"', "dark" if dark_by_role else choice, shown)


def _reads_in_the_dark(request: HttpRequest) -> bool:
    """Whether the role of the person asks for the dark theme; looked up once a session."""
    if DARK_BY_ROLE not in request.session:
        user: Any = request.user
        request.session[DARK_BY_ROLE] = user.groups.filter(name=Role.RADIOLOGIST).exists()
    return bool(request.session[DARK_BY_ROLE])


@register.filter
def bounded(count: int, most: int = 999) -> str:
    """A count that was not counted to its end."""
    return _("%(most)d+") % {"most": most} if count > most else formats.number_format(count)


def _values(attributes: dict[str, Any], tag: str) -> str:
    """The values of one attribute of DICOM JSON (PS3.18 F.2.2) as one line."""
    found = attributes.get(tag) or {}
    values = found.get("Value") or []
    if found.get("vr") == "PN":
        values = [PersonName(value.get("Alphabetic", "")).display for value in values if isinstance(value, dict)]
    return ", ".join(str(value) for value in values if isinstance(value, str | int | float) and str(value).strip())


@register.filter
def cautions(patient: Any) -> list[str]:
    """What must be seen before anything is done: alerts, allergies, pregnancy (PS3.3 C.7.1.3, C.2.3)."""
    received = [_values(patient.attributes, tag) for tag in ("00102000", "00102110")]
    alerts = list(dict.fromkeys([patient.medical_alerts, *_allergies(patient), *received]))
    pregnancy = {
        "2": _("Possibly pregnant"),
        "3": _("Pregnant"),
    }.get(_values(patient.attributes, "001021C0"), "")
    return [text for text in [*alerts, pregnancy] if text]


def _allergies(patient: Any) -> list[str]:
    return [_("Allergic: %(to)s") % {"to": patient.allergies}] if patient.allergies else []


@register.filter
def study_facts(study: Any) -> list[tuple[str, str]]:
    """What the images say about the study besides what has a column."""
    labels = {
        "00081060": _("Reading physician"),
        "00081048": _("Physician of record"),
        "00321032": _("Requesting physician"),
        "00080080": _("Institution"),
        "00081040": _("Department"),
        "00081080": _("Admitting diagnosis"),
        "001021B0": _("History"),
        "00101030": _("Weight (kg)"),
        "00101020": _("Height (m)"),
    }
    facts = [(label, _values(study.attributes, tag)) for tag, label in labels.items()]
    return [(label, value) for label, value in facts if value.strip("0.")]  # devices send 0 for a weight they lack


@register.simple_tag
def request_key() -> str:
    """A key for a form that must make something once, however often it is sent (radiology.services.idempotency)."""
    return str(uuid.uuid4())


@register.filter
def may(user: Any, scope: str) -> bool:
    """Whether somebody who is signed in has this right."""
    return bool(user.is_authenticated and user.may(scope))


@register.filter
def undo_address(message: Message) -> str:
    """Where to post to take back what a notice tells of; empty when it cannot be."""
    return message.extra_tags.removeprefix(UNDO) if (message.extra_tags or "").startswith(UNDO) else ""


@register.filter
def json_attribute(value: Any) -> str:
    """A value as JSON for an attribute; the template escapes it."""
    return json.dumps(value, ensure_ascii=False)


@register.filter
def with_class(bound: Any, css_class: str) -> SafeString:
    """A form field drawn with a class, and marked invalid when it is."""
    attributes = {"class": f"{css_class} is-invalid" if bound.errors else css_class, "placeholder": ""}
    if bound.errors:
        attributes["aria-invalid"] = "true"
    return bound.as_widget(attrs=attributes)
