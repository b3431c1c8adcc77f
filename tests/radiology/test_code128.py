"""Code 128: what is drawn is read back bar by bar, with a table that was written independently."""

import re

import pytest

from radiology import code128

# The modules of each value as bits, as scanners' documentation prints them: 1 is a bar of one module.
FIRST = {0: "11011001100", 1: "11001101100", 16: "10011101100", 33: "10100011000", 63: "10100110000", 64: "10100001100"}
LAST = {
    99: "10111011110", 100: "10111101110", 101: "11101011110", 102: "11110101110", 103: "11010000100",
    104: "11010010000", 105: "11010011100", 106: "1100011101011",
}  # fmt: skip


def bits(widths: str) -> str:
    return "".join(("1" if place % 2 == 0 else "0") * int(width) for place, width in enumerate(widths))


def test_the_table_is_that_of_the_standard() -> None:
    assert len(code128.WIDTHS) == 107 and len(set(code128.WIDTHS)) == 107
    for widths in code128.WIDTHS[:106]:
        # Every character has 11 modules; its bars have an even number of them.
        assert sum(map(int, widths)) == 11 and sum(map(int, widths[::2])) % 2 == 0, widths
    assert {value: bits(code128.WIDTHS[value]) for value in {**FIRST, **LAST}} == {**FIRST, **LAST}


def read(svg: str) -> str:
    """What a scanner reads from the drawn bars."""
    bars = [(int(x), int(width)) for x, width in re.findall(r'<rect x="(\d+)" y="0" width="(\d+)"', svg)]
    row = ["0"] * (bars[-1][0] + bars[-1][1])
    for x, width in bars:
        row[x : x + width] = ["1"] * width
    line = "".join(row)[10:]
    known = {bits(widths): value for value, widths in enumerate(code128.WIDTHS)}
    values = [known[line[place : place + 11]] for place in range(0, len(line) - 13, 11)]
    assert known[line[-13:]] == 106
    *data, check = values[1:]
    assert (values[0] + sum(weight * value for weight, value in enumerate(data, start=1))) % 103 == check
    in_c, text = values[0] == 105, ""
    assert values[0] in {104, 105}
    for value in data:
        if in_c and value == 100:
            in_c = False
        elif not in_c and value == 99:
            in_c = True
        else:
            text += f"{value:02d}" if in_c else chr(value + 32)
    return text


@pytest.mark.parametrize(
    "text",
    [
        "26030900001", "260309000001", "RS202603-0007", "A1", "1", "12", "123", "1234", "12345", "A12345B", "A123456",
        "~ !", "1234567890123456", "ACC-00012345678", "a1b22c333d4444e55555f",
    ],
)  # fmt: skip
def test_what_is_drawn_is_what_is_read(text: str) -> None:
    assert read(str(code128.svg(text))) == text


def test_digits_take_half_the_room_and_other_characters_are_refused() -> None:
    assert len(code128.values("26030900001234")) == 1 + 7 + 2
    for text in ("", "É", "a\n"):
        with pytest.raises(ValueError, match="ASCII"):
            code128.values(text)
