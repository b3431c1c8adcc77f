"""What one text says and another does not."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiology.services.report_differences import MOST_EDITS, difference_of_texts, runs_between


def shown(before: str, after: str) -> str:
    signs = {"same": "", "removed": "-", "added": "+"}
    return "|".join(f"{signs[each.kind]}{each.text}" for each in runs_between(before, after))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("Nodul di lobus kanan.", "Nodul di lobus kiri.", "Nodul di lobus|-kanan.|+kiri."),
        ("", "Normal.", "+Normal."),
        ("Normal.", "", "-Normal."),
        ("Cor normal.", "Cor normal.", "Cor normal."),
        ("Cor  normal.", "Cor normal.", "Cor normal."),
        ("a b c d", "a x c y", "a|-b|+x|c|-d|+y"),
        ("satu\ndua", "satu\ntiga\ndua", "satu\n|+tiga\n|dua"),
        ("tidak tampak nodul", "tampak nodul", "-tidak|tampak nodul"),
    ],
)
def test_words_that_went_and_came_are_told(before: str, after: str, told: str) -> None:
    assert shown(before, after) == told


def pieces(text: str) -> list[str]:
    """Words and line ends."""
    return re.findall(r"\n|\S+", text)


words = st.lists(st.sampled_from(["a", "b", "c", "\n", "efusi."]), max_size=40).map(" ".join)


@given(words, words)
@settings(max_examples=300, deadline=None)
def test_either_text_can_be_made_of_the_difference(before: str, after: str) -> None:
    runs = runs_between(before, after)
    for text, other in ((before, "added"), (after, "removed")):
        assert pieces(" ".join(each.text for each in runs if each.kind != other)) == pieces(text)
    assert all(each.kind == "same" for each in runs) == (pieces(before) == pieces(after))


def test_texts_that_share_nothing_are_replaced_as_a_whole() -> None:
    old, new = (" ".join(f"{name}{n}" for n in range(MOST_EDITS)) for name in "ab")
    runs = runs_between(f"Sama {old} akhir", f"Sama {new} akhir")
    assert [each.kind for each in runs] == ["same", "removed", "added", "same"]
    assert runs[1].text == old and runs[2].text == new


def test_sections_that_neither_has_are_left_out_and_words_are_counted() -> None:
    found = difference_of_texts({"findings": "satu dua"}, {"findings": "satu", "impression": "tiga empat lima"})
    assert [each.section.value for each in found.sections] == ["findings", "impression"]
    assert (found.removed, found.added, found.is_changed) == (1, 3, True)
