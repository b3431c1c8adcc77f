"""The words that django-unfold puts around the admin's pages are Indonesian too."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import unfold
from django.utils import translation
from django.utils.translation import gettext, ngettext
from django.utils.translation.template import templatize

ROOT = Path(unfold.__file__).parent
TEXT = r"""u?("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
ONE = re.compile(rf"\b(?:_|gettext|gettext_lazy)\(\s*{TEXT}\s*[,)]")
SOME = re.compile(rf"\bngettext(?:_lazy)?\(\s*{TEXT}\s*,\s*{TEXT}")
# Of what is not used here: other packages' pages, an editor of formatted text, sections of tables, nested rows.
UNUSED = re.compile(
    r"contrib/(constance|guardian|import_export|inlines|location_field|simple_history)/"
    r"|toolbar\.html|unfold_crispy|dataset|nested_inlines|widgets\.py"
)


def sources() -> Iterator[str]:
    for path in sorted(ROOT.rglob("*")):
        if path.suffix in {".html", ".py"} and not UNUSED.search(str(path.relative_to(ROOT))):
            text = path.read_text(encoding="utf-8")
            yield templatize(text) if path.suffix == ".html" else text


def test_every_word_of_unfold_is_translated() -> None:
    single = {ast.literal_eval(found) for source in sources() for found in ONE.findall(source)}
    counted = {
        (ast.literal_eval(one), ast.literal_eval(several))
        for source in sources()
        for one, several in SOME.findall(source)
    }
    assert len(single) > 100 and len(counted) > 2
    with translation.override("id"):
        missing = sorted(text for text in single if gettext(text) == text)
        missing += sorted(one for one, several in counted if ngettext(one, several, 2) == several)
    assert missing == []
