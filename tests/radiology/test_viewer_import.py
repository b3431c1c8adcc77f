"""What deploy/ohif.py does to the viewer's files, on a small stand-in for the real package."""

import json
import re
from pathlib import Path

import pytest
from django.conf import settings

from deploy import node, ohif


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text('<script>window.PUBLIC_URL="/"</script>')
    (tmp_path / "app.bundle.0123456789abcdef.js").write_text('__webpack_require__.p = "/";')
    return tmp_path


def test_a_rewrite_that_finds_another_count_stops_the_import(dist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ohif, "REWRITES", [("*.js", r'__webpack_require__\.p = "/";', "x", 8)])
    with pytest.raises(node.SetUpFailed, match=r"expected 8 .* found 1"):
        ohif.rewrite(dist, {})


def test_a_rewrite_moves_the_base_and_fills_in_values(dist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ohif, "REWRITES", [("*.js", r'p = "/";', 'p = "/ohif/"; x = {{ translation }}', 1)])
    ohif.rewrite(dist, {"translation": '"a\\nb\\1"'})
    written = (dist / "app.bundle.0123456789abcdef.js").read_text()
    assert written == '__webpack_require__.p = "/ohif/"; x = "a\\nb\\1"'


def test_a_release_that_lacks_what_is_dropped_stops_the_import(dist: Path) -> None:
    import tarfile

    (dist / "package").mkdir()
    (dist / "package" / "dist").mkdir()
    with tarfile.open(dist / "x.tgz", "w:gz") as archive:
        archive.add(dist / "package", "package")
    with pytest.raises(node.SetUpFailed, match="no ort to drop"):
        ohif.unpack(dist / "x.tgz", dist / "out")


def test_a_finished_import_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ohif").mkdir()
    (tmp_path / "www" / "ohif").mkdir(parents=True)
    (tmp_path / "ohif" / "stamp").write_text(ohif.stamp())
    monkeypatch.setattr(node, "find", lambda: pytest.fail("npm was looked for"))
    assert ohif.main(["--data", str(tmp_path)]) == 0


def test_the_translation_keeps_the_places_of_values() -> None:
    texts = json.loads(ohif.TRANSLATION.read_text(encoding="utf-8"))
    assert texts["Buttons"]["Length"] == "Panjang"
    for namespace in texts.values():
        for key, text in namespace.items():
            for place in re.findall(r"{{.*?}}", key):
                assert place in text
            assert text.count("{{") == text.count("}}")


@pytest.mark.parametrize(
    ("address", "immutable"),
    [
        ("/ohif/app.bundle.0f6159c501addfe9.js", True),
        ("/ohif/37fa160cc3a47cfd.wasm", True),
        ("/static/radiology/sinar.0123456789ab.css", True),
        ("/ohif/app.bundle.css", False),
        ("/ohif/manifest.json", False),
        ("/static/radiology/sinar.css", False),
    ],
)
def test_only_names_with_a_digest_are_kept_for_ever(address: str, immutable: bool) -> None:
    assert bool(re.search(settings.WHITENOISE_IMMUTABLE_FILE_TEST, address)) is immutable
