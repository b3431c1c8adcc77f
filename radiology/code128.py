"""Barcodes of accession numbers: Code 128 (ISO/IEC 15417), code sets B and C, as SVG."""

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# Widths of bar, space, bar, space, bar, space of each value (Table 1); the last one is the stop with its final bar.
TABLE = """
212222 222122 222221 121223 121322 131222 122213 122312 132212 221213 221312 231212 112232 122132 122231 113222
123122 123221 223211 221132 221231 213212 223112 312131 311222 321122 321221 312212 322112 322211 212123 212321
232121 111323 131123 131321 112313 132113 132311 211313 231113 231311 112133 112331 132131 113123 113321 133121
313121 211331 231131 213113 213311 213131 311123 311321 331121 312113 312311 332111 314111 221411 431111 111224
111422 121124 121421 141122 141221 112214 112412 122114 122411 142112 142211 241211 221114 413111 241112 134111
111242 121142 121241 114212 124112 124211 411212 421112 421211 212141 214121 412121 111143 111341 131141 114113
114311 411113 411311 113141 114131 311141 411131 211412 211214 211232 2331112
"""
WIDTHS = TABLE.split()
START_B, START_C, TO_C, TO_B, STOP = 104, 105, 99, 100, 106
QUIET = 10


def values(text: str) -> list[int]:
    """Start, data, check character and stop. Raises ValueError for what is not printable ASCII."""
    if not text or not all(" " <= character <= "~" for character in text):
        raise ValueError(f"Code 128 B holds printable ASCII only: {text!r}")
    found: list[int] = []
    in_c, place = False, 0
    while place < len(text):
        digits = _digits(text, place)
        # Pairs of digits pay from four on, or two where that is all (Annex E).
        wants_c = digits - digits % 2 >= (2 if in_c or digits == len(text) else 4)
        if wants_c and not in_c and digits % 2 and found:
            wants_c = False  # an odd digit goes first, in B
        if not found:
            found.append(START_C if wants_c else START_B)
        elif wants_c != in_c:
            found.append(TO_C if wants_c else TO_B)
        in_c = wants_c
        if in_c:
            found.append(int(text[place : place + 2]))
            place += 2
        else:
            found.append(ord(text[place]) - 32)
            place += 1
    check = (found[0] + sum(weight * value for weight, value in enumerate(found[1:], start=1))) % 103
    return [*found, check, STOP]


def svg(text: str, *, height: int = 50) -> SafeString:
    """The barcode with its quiet zones; it takes the width that its place gives it."""
    bars, x = [], QUIET
    for value in values(text):
        for number, width in enumerate(map(int, WIDTHS[value])):
            if number % 2 == 0:
                bars.append((x, width, height))
            x += width
    return format_html(
        '<svg class="barcode" viewBox="0 0 {} {}" role="img" aria-label="{}" preserveAspectRatio="none" '
        'shape-rendering="crispEdges">{}</svg>',
        x + QUIET,
        height,
        text,
        format_html_join("", '<rect x="{}" y="0" width="{}" height="{}"/>', bars),
    )


def _digits(text: str, place: int) -> int:
    """How many digits stand in a row from there on."""
    end = place
    while end < len(text) and text[end].isdigit():
        end += 1
    return end - place
