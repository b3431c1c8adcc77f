"""Tables that people keep in spreadsheets: no cell calculates, and a mistake in what is read back has its place."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from radiology.dicom import clean
from radiology.errors import InvalidValue

LARGEST = 2 << 20
MOST_ERRORS = 20
# What makes a spreadsheet calculate instead of show (OWASP, CSV injection); an apostrophe before it stops that.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
_STOPPED = {f"'{sign}" for sign in FORMULA}


@dataclass(frozen=True)
class Line:
    """A line that is not empty: the number of the line where it begins, and its cells by their column.

    A line that ends early lacks the last columns; `has_surplus`: something stands behind the last column.
    """

    number: int
    cells: dict[str, str]
    has_surplus: bool


def decode(raw: bytes) -> str:
    """A file's bytes as text. Raises InvalidValue for one that is too large or no UTF-8."""
    if len(raw) > LARGEST:
        raise InvalidValue(_("The file is larger than any such table: 2 MB at most."), field="file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValue(_("The file is no UTF-8 text: in Excel, save it as “CSV UTF-8”."), field="file") from error


def write_table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A table with these columns; with a byte order mark, so that Excel reads it as UTF-8."""
    text = io.StringIO()
    text.write("\ufeff")
    writer = csv.writer(text)
    writer.writerow(columns)
    for cells in rows:
        writer.writerow([_harmless(cell) for cell in cells])
    return text.getvalue()


def read_table(text: str, *, columns: Sequence[str], needed: Sequence[str]) -> tuple[list[str], Iterator[Line]]:
    """The columns that a table has, of those that are known, and its lines.

    Commas, semicolons and tabs are understood, by the first line. Raises InvalidValue that names line and column,
    for a broken line when it is its turn.
    """
    if "\x00" in text:
        raise InvalidValue(_("The file holds NUL characters: it is no CSV."), field="file")
    lines = _lines(text.removeprefix("\ufeff"))
    _number, header = next(lines, (1, []))
    names = [clean(name).lower() for name in header]
    _require_header(names, columns, needed)
    return names, _read(names, lines)


def told(line: int, column: str, message: str) -> str:
    """A mistake and where it is; `column` may be empty."""
    if column:
        return _("Line %(line)d, column %(column)s: %(message)s") % {"line": line, "column": column, "message": message}
    return _("Line %(line)d: %(message)s") % {"line": line, "message": message}


def refuse(errors: Sequence[str]) -> None:
    """Raises InvalidValue with the first twenty mistakes, which are among its facts as `errors`; not for none."""
    if errors:
        first = list(errors[:MOST_ERRORS])
        raise InvalidValue("\n".join(first), field="file", errors=first)


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line where each row begins, and its cells."""
    first = text.lstrip("\r\n").partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count), strict=True)
    begin = 1
    try:
        for cells in reader:
            yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise InvalidValue(told(begin, "", str(error)), field="file") from error


def _read(names: list[str], lines: Iterator[tuple[int, list[str]]]) -> Iterator[Line]:
    for number, cells in lines:
        if any(cell.strip() for cell in cells):
            given = dict(zip(names, map(_plain, cells), strict=False))
            yield Line(number, given, any(cell.strip() for cell in cells[len(names) :]))


def _require_header(names: list[str], columns: Sequence[str], needed: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in columns]:
        listed = _("there is no such column; there are: %(names)s") % {"names": ", ".join(columns)}
        raise InvalidValue(told(1, unknown[0][:64], listed), field="file")
    if missing := [name for name in needed if name not in names]:
        raise InvalidValue(told(1, missing[0], _("this column is missing")), field="file")
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidValue(told(1, twice[0], _("this column stands there twice")), field="file")


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) or cell[:2] in _STOPPED else cell


def _plain(cell: str) -> str:
    """What stood in a cell before it was made harmless; only the space around it is trimmed."""
    if cell.startswith("'") and (cell[1:].startswith(FORMULA) or cell[1:3] in _STOPPED):
        cell = cell[1:]
    return cell.strip()
