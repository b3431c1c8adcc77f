"""The sections of a report as a page shows them, and as text: messages, objects and searches take the text.

Markup is what somebody's browser sent: only what is listed here is kept of it, whatever else it holds.
"""

from collections.abc import Mapping
from html import escape
from html.parser import HTMLParser
from typing import Any

import nh3
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from radiology.dicom import clean
from radiology.errors import InvalidValue
from radiology.models import ReportSection, ReportVersion

LONGEST_MARKUP = 400_000
TAGS = {"p", "br", "strong", "em", "u", "ul", "ol", "li", "a"}
# A measurement or an image that the text speaks of: an address of our own viewer, and nothing else.
VIEWER = "/viewer?"
LISTS = {"ul", "ol"}
BLOCKS = {"p", "li", *LISTS}


def markup_of(sections: Mapping[str, Any]) -> dict[str, str]:
    """What may be kept of the markup of each section, those without a word left out. Raises InvalidValue."""
    if not isinstance(sections, Mapping):
        raise InvalidValue(_("The sections are texts by their names."), field="sections")
    kept = {}
    for name, markup in sections.items():
        if not isinstance(markup, str):
            raise InvalidValue(_("This must be a text."), field=f"sections.{name}"[:64])
        if len(markup) > LONGEST_MARKUP:
            raise InvalidValue(
                _("This may have %(most)d characters.") % {"most": LONGEST_MARKUP}, field=f"sections.{name}"[:64]
            )
        safe = sanitised(markup)
        if text_of_markup(safe).strip():
            kept[name] = safe
    return kept


def sanitised(markup: str) -> str:
    """Of HTML from anywhere what a report may hold; unknown elements leave their text, scripts and styles nothing."""
    return nh3.clean(
        clean(markup.replace("\r\n", "\n").replace("\r", "\n")),
        tags=TAGS,
        attributes={"a": {"href"}},
        attribute_filter=_own_addresses,
        link_rel=None,
        url_schemes=set(),
    )


def text_of_markup(markup: str) -> str:
    """Plain lines: a paragraph or an item of a list each; items begin with "- " or their number."""
    reader = _Lines()
    reader.feed(markup)
    reader.close()
    return "\n".join(reader.lines).strip("\n")


def shown(version: ReportVersion) -> list[tuple[ReportSection, SafeString]]:
    """The sections of a version that say something, as markup, in order."""
    return [(each, SafeString(version.markup.get(each.value) or markup_of_text(text))) for each, text in version.texts]


def printed(version: ReportVersion) -> list[tuple[ReportSection, SafeString]]:
    """The same for paper, where no address of ours leads anywhere: links are their words."""
    return [(each, SafeString(nh3.clean(markup, tags=TAGS - {"a"}, attributes={}))) for each, markup in shown(version)]


def markup_of_text(text: str) -> str:
    """A text as paragraphs, a line each."""
    return "".join(f"<p>{escape(line, quote=False)}</p>" for line in text.split("\n")) if text else ""


def _own_addresses(element: str, attribute: str, value: str) -> str | None:
    return value if element == "a" and attribute == "href" and value.startswith(VIEWER) else None


class _Lines(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self._line = ""
        self._begun = False  # the mark of an item stands there, and nothing else yet
        self._lists: list[int | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br" or (tag in BLOCKS and self._line and not self._begun):
            self._end()
        if tag in LISTS:
            self._lists.append(0 if tag == "ol" else None)
        elif tag == "li":
            self._line, self._begun = self._mark(), True

    def handle_endtag(self, tag: str) -> None:
        if tag == "p" or (tag in BLOCKS and self._line):
            self._end()
        if tag in LISTS and self._lists:
            self._lists.pop()

    def handle_data(self, data: str) -> None:
        if data.isspace() and "\n" in data:
            return
        first, *others = data.split("\n")
        self._say(first)
        for line in others:
            self._end()
            self._say(line)

    def close(self) -> None:
        super().close()
        if self._line:
            self._end()

    def _say(self, text: str) -> None:
        if text:
            self._line, self._begun = self._line + text, False

    def _end(self) -> None:
        self.lines.append(self._line.rstrip())
        self._line, self._begun = "", False

    def _mark(self) -> str:
        indent = "  " * (len(self._lists) - 1)
        if not self._lists or self._lists[-1] is None:
            return f"{indent}- "
        self._lists[-1] += 1
        return f"{indent}{self._lists[-1]}. "
