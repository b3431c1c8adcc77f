"""Reading a report template of IHE RAD Management of Radiology Report Templates (MRRT, RAD TF-3): HTML5, as data.

Nothing in the file is ever run: scripts, styles and embedded objects are not looked into, but for the coded content
that the profile puts into `<script type="text/xml">`, which is read as text.
"""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import groupby

from django.utils.translation import gettext as _

from radiology.errors import InvalidValue, TooLarge

LARGEST = 1 << 20
DEEPEST = 20
NOT_READ = {"script", "style", "iframe", "object", "embed", "noscript", "svg", "math", "audio", "video", "canvas"}
VOID = {"embed"}
HEADINGS = {"header", "h1", "h2", "h3", "h4", "h5", "h6", "legend", "summary"}
LINES = {"p", "div", "li", "tr", "dt", "dd", "section", "fieldset", "table", "ul", "ol", "dl", "body", "br", "hr"}
APART = {"label", "td", "th"}
UNSEEN = {"hidden", "button", "submit", "reset", "image", "file"}


@dataclass
class Control:
    """One thing to fill in. `options` are pairs of a text and whether it is chosen at first."""

    kind: str
    name: str
    unit: str = ""
    value: str = ""
    options: list[tuple[str, bool]] = field(default_factory=list)


@dataclass
class Line:
    """A paragraph: texts and controls in their order; or a heading of `level`."""

    pieces: list[str | Control] = field(default_factory=list)
    is_heading: bool = False

    @property
    def text(self) -> str:
        return squeezed(" ".join(each for each in self.pieces if isinstance(each, str)))

    @property
    def controls(self) -> list[Control]:
        return [each for each in self.pieces if isinstance(each, Control)]


@dataclass
class MrrtSection:
    """A section with its name and code; lines and sections within it in their order."""

    name: str
    identifier: str
    content: list["Line | MrrtSection"] = field(default_factory=list)


@dataclass
class MrrtDocument:
    """What the file says. `terms` are (value, meaning) of the template, `codes` values by ORIGTXT."""

    metadata: dict[str, str] = field(default_factory=dict)
    title: str = ""
    sections: list[MrrtSection] = field(default_factory=list)
    terms: list[tuple[str, str]] = field(default_factory=list)
    codes: dict[str, list[str]] = field(default_factory=dict)


def read_document(raw: bytes) -> MrrtDocument:
    """Raises TooLarge, InvalidValue for bytes that are no such template."""
    if len(raw) > LARGEST:
        raise TooLarge(_("The file is larger than any report template: 1 MB at most."), field="file")
    reader = _Reader()
    text = _decoded(raw)
    try:
        reader.feed(text)
        reader.close()
    except AssertionError as error:  # the library's answer to a malformed `<![`
        raise InvalidValue(_("The file is no HTML that can be read."), field="file") from error
    reader.end_line()
    if not reader.document.sections:
        raise InvalidValue(
            _("This is no report template of IHE MRRT: it has no section with a data-section-name."), field="file"
        )
    return reader.document


def squeezed(text: str) -> str:
    """One line, white space as single spaces, without signs that nobody sees."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff\ufeff]", " ", text).split())


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        said = re.search(rb"charset=[\"']?\s*(iso-8859-1|windows-1252)", raw[:4096], re.IGNORECASE)
        if said is None:
            raise InvalidValue(_("The file is not in UTF-8."), field="file") from None
        return raw.decode("cp1252", errors="replace")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.document = MrrtDocument()
        self._open: list[MrrtSection] = []
        self._line = Line()
        self._hidden: list[str] = []
        self._in_title = self._in_coded = False
        self._textarea: Control | None = None
        self._select: Control | None = None
        self._option: list[str] | None = None
        self._chosen = False
        self._group: Control | None = None  # whose option the next text names
        self._groups: dict[str, Control] = {}  # of this line

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if self._hidden:
            if tag == self._hidden[-1] and tag not in VOID:
                self._hidden.append(tag)
        elif tag in NOT_READ:
            self._in_coded = tag == "script" and given.get("type", "").strip().casefold() == "text/xml"
            if tag not in VOID:
                self._hidden.append(tag)
        elif tag == "meta" and given.get("name", "").casefold().startswith("dcterms."):
            self.document.metadata.setdefault(given["name"].casefold(), squeezed(given.get("content", ""))[:500])
        elif tag == "title":
            self._in_title = True
        elif tag == "section" and "data-section-name" in given:
            self._begin_section(given)
        elif self._open:
            self._within(tag, given)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # Many templates are written as XML, where `<textarea/>` is empty and the text goes on.
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag == self._hidden[-1]:
                self._hidden.pop()
                self._in_coded = False
        elif tag == "title":
            self._in_title = False
        elif tag == "section":
            self.end_line()
            if self._open:
                self._open.pop()
        elif tag == "textarea":
            self._textarea = None
        elif tag == "option":
            self._end_option()
        elif tag == "select":
            self._end_option()
            self._select = None
        elif tag in HEADINGS or tag in LINES:
            self.end_line()

    def handle_data(self, data: str) -> None:
        if self._hidden:
            if self._in_coded:
                _read_coded(data, self.document)
        elif self._in_title:
            self.document.title = squeezed(self.document.title + data)[:500]
        elif self._textarea is not None:
            self._textarea.value += data
        elif self._option is not None:
            self._option.append(data)
        elif self._open and self._select is None:
            if self._group is not None and squeezed(data):
                last, chosen = self._group.options.pop()
                self._group.options.append((squeezed(data) or last, chosen))
                self._group = None
            else:
                self._line.pieces.append(data)

    def end_line(self) -> None:
        """What was gathered becomes a line of the section, unless it is empty."""
        line, self._line, self._group, self._groups = self._line, Line(), None, {}
        # The parser hands over a text in parts wherever it holds a sign that might have begun something.
        parts = groupby(line.pieces, lambda each: isinstance(each, str))
        line.pieces = [
            each for is_text, given in parts for each in (["".join(map(str, given))] if is_text else list(given))
        ]
        if self._open and (line.text or line.controls):
            self._open[-1].content.append(line)

    def _begin_section(self, given: dict[str, str]) -> None:
        self.end_line()
        if len(self._open) >= DEEPEST:
            raise InvalidValue(_("Its sections lie deeper than %d in one another.") % DEEPEST, field="file")
        section = MrrtSection(squeezed(given["data-section-name"])[:200], given.get("id", ""))
        (self._open[-1].content if self._open else self.document.sections).append(section)
        self._open.append(section)

    def _within(self, tag: str, given: dict[str, str]) -> None:
        if tag in APART:
            self._line.pieces.append(" ")
        if tag in HEADINGS:
            self.end_line()
            self._line.is_heading = True
        elif tag in LINES:
            self.end_line()
        elif tag == "input":
            self._input(given)
        elif tag == "textarea":
            self._textarea = self._add("text", given)
        elif tag == "select":
            self._select = self._add("choice", given)
        elif tag == "option" and self._select is not None:
            self._end_option()
            self._option, self._chosen = [], "selected" in given

    def _input(self, given: dict[str, str]) -> None:
        kind = given.get("type", "text").strip().casefold()
        if kind in UNSEEN:
            return
        if kind not in {"radio", "checkbox"}:
            control = self._add("number" if kind in {"number", "range"} else "text", given)
            control.value = squeezed(given.get("value", ""))
            return
        name = given.get("name") or given.get("id", "")
        if name not in self._groups:
            self._groups[name] = self._add("choice", {**given, "name": name})
        self._group = self._groups[name]
        self._group.options.append((squeezed(given.get("value", "")) or name, "checked" in given))

    def _add(self, kind: str, given: dict[str, str]) -> Control:
        unit = squeezed(given.get("data-field-units", ""))
        control = Control(kind, squeezed(given.get("name") or given.get("id", "")), unit)
        self._line.pieces.append(control)
        return control

    def _end_option(self) -> None:
        if self._option is not None and self._select is not None and (text := squeezed(" ".join(self._option))):
            self._select.options.append((text, self._chosen))
        self._option = None


class _Coded(HTMLParser):
    """`template_attributes`: terms of the template, and of its entries. Real files leave tags open; this minds not."""

    def __init__(self, document: MrrtDocument) -> None:
        super().__init__(convert_charrefs=True)
        self.document = document
        self.entry = ""
        self.in_content = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "coded_content":
            self.in_content = True
        elif tag == "entry":
            self.entry = given.get("origtxt", "")
        elif tag == "code" and self.in_content:
            self.document.codes.setdefault(self.entry, []).append(given.get("value", ""))
        elif tag == "code":
            self.document.terms.append((given.get("value", ""), squeezed(given.get("meaning", ""))))


def _read_coded(text: str, document: MrrtDocument) -> None:
    coded = _Coded(document)
    coded.feed(text.replace("<!--", " ").replace("-->", " "))
    coded.close()
