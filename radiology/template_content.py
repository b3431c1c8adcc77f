"""What a report template says: its shape, checked strictly, and the HTML that an editor begins with.

A template has paragraphs by section, each a text or a field. Square brackets in a text stand for what is still to be
written: `[  ]` anything, `[right|left]` one of these, `[mm]` a number of that unit. A text that begins with `- ` is
an item of a list.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.utils.html import escape
from django.utils.translation import gettext as _

from radiology.errors import InvalidValue

SECTIONS = ("indication", "technique", "comparison", "findings", "impression")
KINDS = ("text", "choice", "number")
LARGEST = 64 * 1024
MOST_PARAGRAPHS = 80
MOST_CHOICES = 40
LONGEST_TEXT = 2000
LONGEST_LABEL = 120
LONGEST_UNIT = 20
ITEM = "- "

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
_KEYS = {"field", "label", "kind", "normal", "default", "choices", "unit"}


def checked(content: Any) -> dict[str, list[dict[str, Any]]]:
    """`content` with all its sections, in order. Raises InvalidValue that names the place and what is amiss."""
    if not isinstance(content, Mapping):
        raise _wrong("content", _("it is an object of sections"))
    for name in content:
        if name not in SECTIONS:
            raise _wrong(str(name)[:64], _("there is no such section; there are: %s") % ", ".join(SECTIONS))
    seen: set[str] = set()
    found = {name: _section(name, content.get(name, []), seen) for name in SECTIONS}
    if not any(found.values()):
        raise _wrong("content", _("a template says something"))
    if len(json.dumps(found, ensure_ascii=False).encode()) > LARGEST:
        raise _wrong("content", _("a template has 64 KB at most"))
    return found


def rendered(content: Mapping[str, Any], *, normal: bool) -> dict[str, str]:
    """HTML by section, of `p`, `strong`, `ul` and `li` only, all text escaped; sections without paragraphs are "".

    With `normal` a field says its normal sentence, where it has one; otherwise its default, or what is to be filled in.
    """
    return {name: "".join(_html(content.get(name) or [], normal)) for name in SECTIONS}


def blank_of(field: Mapping[str, Any]) -> str:
    """What stands in a field before anybody has written in it."""
    if field.get("default"):
        return str(field["default"])
    if field["kind"] == "choice":
        return f"[{'|'.join(field['choices'])}]"
    return f"[{field['unit']}]" if field["kind"] == "number" and field.get("unit") else "[  ]"


def are_brackets_closed(text: str) -> bool:
    """Whether each bracket holds something, is closed, and none lies within another."""
    return re.fullmatch(r"(?:[^\[\]]|\[[^\[\]]+\])*", text) is not None


def _html(paragraphs: list[Mapping[str, Any]], normal: bool) -> Iterator[str]:
    in_list = False
    for each in paragraphs:
        is_item = "field" not in each and each["text"].startswith(ITEM)
        if is_item != in_list:
            yield "<ul>" if is_item else "</ul>"
            in_list = is_item
        if is_item:
            yield f"<li>{escape(each['text'][len(ITEM) :])}</li>"
        elif "field" not in each:
            yield f"<p>{escape(each['text'])}</p>"
        else:
            label = f"<strong>{escape(each['label'])}:</strong> " if each.get("label") else ""
            text = (each.get("normal") if normal else "") or blank_of(each)
            yield f"<p>{label}{escape(text)}</p>"
    if in_list:
        yield "</ul>"


def _section(name: str, paragraphs: Any, seen: set[str]) -> list[dict[str, Any]]:
    if not isinstance(paragraphs, list):
        raise _wrong(name, _("it is a list of paragraphs"))
    if len(paragraphs) > MOST_PARAGRAPHS:
        raise _wrong(name, _("it has %d paragraphs at most") % MOST_PARAGRAPHS)
    return [_paragraph(f"{name} {number}", each, seen) for number, each in enumerate(paragraphs, 1)]


def _paragraph(place: str, given: Any, seen: set[str]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise _wrong(place, _("it is an object with “text”, or a field"))
    if "field" not in given:
        _only(place, given, {"text"})
        return {"text": _text(place, given, "text", needed=True)}
    _only(place, given, _KEYS)
    name = given["field"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(place, _("the name of a field has small letters, digits and _, at most 40"))
    if name in seen:
        raise _wrong(place, _("there is a field %s already") % name)
    seen.add(name)
    place = f"{place} ({name})"
    kind = given.get("kind", "text")
    if kind not in KINDS:
        raise _wrong(place, _("its kind is one of %s") % ", ".join(KINDS))
    found: dict[str, Any] = {"field": name, "label": _text(place, given, "label", most=LONGEST_LABEL), "kind": kind}
    for key in ("normal", "default"):
        if text := _text(place, given, key):
            found[key] = text
    if kind == "choice":
        found["choices"] = _choices(place, given.get("choices"))
    elif "choices" in given:
        raise _wrong(place, _("only a field of the kind choice has choices"))
    if unit := _text(place, given, "unit", most=LONGEST_UNIT, plain=True):
        if kind != "number":
            raise _wrong(place, _("only a field of the kind number has a unit"))
        found["unit"] = unit
    return found


def _choices(place: str, given: Any) -> list[str]:
    if not isinstance(given, list) or not 2 <= len(given) <= MOST_CHOICES:
        raise _wrong(place, _("it has from 2 to %d choices") % MOST_CHOICES)
    found = [_text(place, {"choices": each}, "choices", needed=True, most=200, plain=True) for each in given]
    if len(set(found)) < len(found):
        raise _wrong(place, _("a choice stands there twice"))
    return found


def _only(place: str, given: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(str(key)[:40] for key in given if key not in known):
        raise _wrong(place, _("%s is not known here") % ", ".join(unknown))


def _text(
    place: str,
    given: Mapping[str, Any],
    key: str,
    *,
    needed: bool = False,
    most: int = LONGEST_TEXT,
    plain: bool = False,
) -> str:
    """A text of one line, its brackets closed; `plain` ones stand within brackets and have none themselves."""
    text = given.get(key, "")
    if not isinstance(text, str):
        raise _wrong(place, _("“%s” is a text") % key)
    text = text.strip()
    if needed and not text:
        raise _wrong(place, _("“%s” says nothing") % key)
    if len(text) > most:
        raise _wrong(place, _("“%(key)s” has %(most)d characters at most") % {"key": key, "most": most})
    if _CONTROL.search(text):
        raise _wrong(place, _("“%s” has a line end or a control character: begin a new paragraph") % key)
    if plain and re.search(r"[\[\]|]", text):
        raise _wrong(place, _("“%s” has none of [ ] |") % key)
    if not are_brackets_closed(text):
        raise _wrong(place, _("in “%s” a bracket is empty, not closed, or within another") % key)
    return text


def _wrong(place: str, what: str) -> InvalidValue:
    return InvalidValue(f"{place}: {what}.", field="content", place=place)
