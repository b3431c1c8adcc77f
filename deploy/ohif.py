"""Brings the OHIF viewer in: SINAR_DATA/www/ohif (served as files) and SINAR_DATA/ohif/index.html (served by a view).

    python deploy/ohif.py --data var

The prebuilt dist of the npm package is moved to the base /ohif/, freed of what is not used, given its
Indonesian texts, minified and compressed. Every rewrite says how often it must find its place: another
release that is shaped otherwise stops here, and not in front of a doctor.
"""

import argparse
import base64
import gzip
import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from deploy import frontend, node, ohif_first_image  # noqa: E402

PACKAGE = "@ohif/app@3.13.2"
INTEGRITY = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
BASE = "/ohif/"
TRANSLATION = ROOT / "deploy" / "ohif-id.json"

DROPPED = [
    "ort", "dicom-microscopy-viewer", "customizations", "sw.js", "init-service-worker.js", "google.js",
    "oidc-client.min.js", "es6-shim.min.js", "polyfill.min.js", "silent-refresh.html", "app-config.js",
    "serve.json", "_headers", "_redirects",
]  # fmt: skip
PACKABLE = {".js", ".css", ".wasm", ".json", ".svg", ".ico"}
DROPPED_PATTERNS = ["*.map", "assets/apple-touch-startup*"]

# (files, pattern, replacement, how many in all those files)
REWRITES: list[tuple[str, str, str, int]] = [
    ("index.html", r'<link rel="apple-touch-startup-image"[^>]*>', "", 10),
    ("index.html", r"<script[^>]*init-service-worker[^>]*></script>", "", 1),
    ("index.html", r'window\.PUBLIC_URL="/"', f'window.PUBLIC_URL="{BASE}"', 2),
    ("index.html", r'\b(href|src|content)="/', rf'\1="{BASE}', 22),
    ("index.html", r"<script>", '<script nonce="{{ nonce }}">', 2),
    ("index.html", r'<html lang="en">', '<html lang="{{ language }}">', 1),
    ("index.html", r"<title>OHIF Viewer</title>", "<title>Sinar</title>", 1),
    ("index.html", r"(app\.bundle\.[0-9a-f]{16}\.js|app\.bundle\.css)", r"\1?v={{ version }}", 2),
    ("*.js", r'__webpack_require__\.p = "/";', f'__webpack_require__.p = "{BASE}";', 8),
    ("*.css", r"url\(/", f"url({BASE}", 5),
    ("manifest.json", r'"src": "/', f'"src": "{BASE}', 9),
    ("assets/manifest.webapp", r': "/', f': "{BASE}', 3),
    ("assets/yandex-browser-manifest.json", r'"logo": "/', f'"logo": "{BASE}', 1),
    ("app.bundle.*.js", r"const src_locales = \(\{\n", "const src_locales = ({\n  ...{{ translation }},\n", 1),
    # A browser keeps these for ever under a name that tells of the package's content, not of what was rewritten in it.
    ("*.js", r'(\.bundle\." \+ \{[^{}]*\}\[chunkId\] \+ "\.js)"', r'\1?v={{ version }}"', 8),
    # What is saved is shown when the archive has it, and not before.
    (
        "*.js",
        (
            r"(\n *src/\* \.DicomMetadataStore\.addInstances \*/\.H8\.addInstances\(instances, true\);)"
            r"(\n *for \(const instance of instances\) \{\n *await resolvedDataSource\.store\.dicom\([^\n]*\n *\})"
        ),
        r"\2\1",
        1,
    ),
    # A length is saved in the unit that it was measured in: without calibration that is not mm.
    (
        "*.js",
        r"(distance = _super\$getCachedStats\.length;\n *return \{\n *point1,\n *point2,\n *distance,)",
        r"\1 unit: _super$getCachedStats.unit,",
        1,
    ),
    *ohif_first_image.REWRITES,
]


def stamp() -> str:
    """Changes when the result would: other release, other rewrites, other translation, other compression."""
    sources = [Path(__file__), Path(ohif_first_image.__file__), TRANSLATION]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def fetch(folder: Path) -> Path:
    """The package's tarball alone: the dependencies that it names are inside its prebuilt dist."""
    _, npm = node.find()
    command = [*npm, "pack", PACKAGE, "--json", "--loglevel=error", f"--pack-destination={folder}"]
    node.run(command, cwd=folder, what=f"Fetching the viewer ({PACKAGE}) from npm")
    tarballs = list(folder.glob("*.tgz"))
    if len(tarballs) != 1:
        raise node.SetUpFailed(f"npm brought no tarball for {PACKAGE}.")
    digest = "sha512-" + base64.b64encode(hashlib.sha512(tarballs[0].read_bytes()).digest()).decode()
    if digest != INTEGRITY:
        raise node.SetUpFailed(f"The tarball of {PACKAGE} is not the one expected ({digest}): nothing was installed.")
    return tarballs[0]


def unpack(tarball: Path, folder: Path) -> Path:
    """The package's dist without what is dropped; its licence beside it."""
    with tarfile.open(tarball) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:  # before Python 3.11.4, such as Debian 12's; `fetch` has checked what the package is
            archive.extractall(folder)  # noqa: S202
    dist = folder / "package" / "dist"
    for name in DROPPED:
        target = dist / name
        if target.is_dir():
            shutil.rmtree(target)
        elif target.exists():
            target.unlink()
        else:
            raise node.SetUpFailed(f"{PACKAGE} has no {name} to drop: deploy/ohif.py does not fit this release.")
    for pattern in DROPPED_PATTERNS:
        for path in list(dist.rglob(pattern) if "/" not in pattern else dist.glob(pattern)):
            path.unlink()
    shutil.copy(folder / "package" / "LICENSE", dist / "LICENSE")
    return dist


def rewrite(dist: Path, values: dict[str, str]) -> None:
    """Applies `REWRITES`; a count that differs is an error."""
    for files, pattern, replacement, expected in REWRITES:
        for name, value in values.items():
            replacement = replacement.replace("{{ " + name + " }}", value.replace("\\", "\\\\"))
        found = 0
        for path in sorted(dist.glob(files)):
            text = path.read_text(encoding="utf-8")
            changed, count = re.subn(pattern, replacement, text)
            if count:
                path.write_text(changed, encoding="utf-8")
                found += count
        if found != expected:
            raise node.SetUpFailed(
                f"{PACKAGE}: expected {expected} × {pattern} in {files}, found {found}. The rewrites need a look."
            )


def minify(dist: Path) -> None:
    """Every script and style in place."""
    program, _ = node.find()
    paths = [str(path.relative_to(dist)) for path in [*dist.glob("*.js"), *dist.glob("*.css")]]
    esbuild = frontend.MODULES / "esbuild" / "bin" / "esbuild"
    if not esbuild.is_file():  # the pages were made long ago, and somebody has tidied up since
        frontend.install()
    options = ["--minify", "--charset=utf8", "--allow-overwrite", "--outdir=.", "--log-level=error"]
    node.run([program, str(esbuild), *paths, *options], cwd=dist, what="Minifying the viewer")


def compress(path: Path) -> None:
    """`path` once more as .br and .gz, where that saves something: WhiteNoise serves them as they are."""
    import brotli

    body = path.read_bytes()
    for suffix, packed in [
        (".br", brotli.compress(body, quality=9)),
        (".gz", gzip.compress(body, 7, mtime=0)),
    ]:
        if len(packed) < 0.95 * len(body):
            Path(f"{path}{suffix}").write_bytes(packed)


def exchange(fresh: Path, target: Path) -> None:
    """Puts `fresh` where `target` is, so that no half-written folder is ever in its place."""
    old = target.with_name(target.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def bring_in(data: Path, version: str) -> None:
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ohif-", dir=data) as name:
        folder = Path(name)
        print("  fetching (50 MB)", flush=True)
        dist = unpack(fetch(folder), folder)
        translation = json.dumps({"id": json.loads(TRANSLATION.read_text(encoding="utf-8"))}, ensure_ascii=False)
        rewrite(dist, {"translation": translation, "version": version[:16]})
        page = folder / "page"
        page.mkdir()
        (dist / "index.html").rename(page / "index.html")
        print("  minifying and compressing", flush=True)
        minify(dist)
        packable = [path for path in dist.rglob("*") if path.suffix in PACKABLE]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compress, packable))
        (page / "stamp").write_text(version)
        for path in [dist, page, *dist.rglob("*"), *page.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        exchange(dist, data / "www" / "ohif")
        exchange(page, data / "ohif")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Brings the OHIF viewer into the data folder.")
    parser.add_argument("--data", type=Path, required=True, help="SINAR_DATA")
    data = parser.parse_args(arguments).data.resolve()
    version = stamp()
    done = data / "ohif" / "stamp"
    if done.is_file() and done.read_text() == version and (data / "www" / "ohif").is_dir():
        return 0
    if frontend.main():
        return 1
    print("Viewer: OHIF 3.13.2", flush=True)
    try:
        bring_in(data, version)
    except (node.SetUpFailed, OSError, tarfile.TarError) as error:
        print(f"Viewer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
