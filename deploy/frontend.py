"""Copies the third-party files of the pages from npm packages to static/vendor. Nothing of Node runs afterwards.

    python deploy/frontend.py

Quick and silent about details when nothing changed: a stamp holds what the result was made from.
"""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from deploy import node  # noqa: E402

MODULES = ROOT / "node_modules"
VENDOR = ROOT / "static" / "vendor"
FILES = {
    "@tabler/core/dist/css/tabler.min.css": "tabler.css",
    "@event-calendar/build/dist/event-calendar.min.css": "event-calendar.css",
    "@event-calendar/build/dist/event-calendar.min.js": "event-calendar.js",
    "htmx.org/dist/htmx.min.js": "htmx.js",
    "idiomorph/dist/idiomorph-ext.min.js": "idiomorph.js",
    "swagger-ui-dist/swagger-ui-bundle.js": "swagger-ui.js",
    "swagger-ui-dist/swagger-ui.css": "swagger-ui.css",
}
# The report editor is many small modules: one file of what its page uses of them.
EDITOR = """
export { Editor } from "@tiptap/core";
export { default as StarterKit } from "@tiptap/starter-kit";
"""
# One sprite with what the templates use: tests/radiology/test_pages_frame.py keeps the two in step.
ICONS = [
    "calendar", "calendar-off", "copy", "link", "link-off", "login", "user-check", "user-off", "walk",
    "alert-triangle", "arrow-back-up", "arrows-exchange", "arrows-split", "ban", "bookmark",
    "chart-bar", "chevron-down", "chevron-left", "chevron-right", "circle-check", "eye-check",
    "bold", "external-link", "italic", "list", "list-numbers", "microphone", "ruler-2", "template", "writing-sign",
    "circle-x", "clock", "columns", "device-desktop",
    "download", "edit", "eye", "folder", "git-compare", "git-merge", "history", "home",
    "file-unknown", "inbox", "key", "keyboard", "list-search", "lock", "logout", "menu-2", "moon", "photo", "photo-off",
    "photo-star",
    "player-pause", "player-play", "player-stop",
    "plug-connected", "plus", "radioactive", "refresh", "rotate-3d", "search", "send", "server", "settings",
    "shield-lock", "stack-2", "sun", "trash", "upload", "user", "x",
]  # fmt: skip


def stamp() -> str:
    made_from = [(ROOT / name).read_bytes() for name in ("package.json", "package-lock.json")]
    return hashlib.sha256(b"".join([*made_from, Path(__file__).read_bytes()])).hexdigest()


def is_done() -> bool:
    return (VENDOR / "stamp").is_file() and (VENDOR / "stamp").read_text() == stamp()


def install() -> None:
    """node_modules exactly as package-lock.json says; no package's scripts are run."""
    _, npm = node.find()
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    node.run(command, cwd=ROOT, what="Fetching the pages' npm packages")


def sprite() -> str:
    """The icons of `ICONS` as one SVG file of symbols."""
    symbols = []
    for name in ICONS:
        source = MODULES / "@tabler" / "icons" / "icons" / "outline" / f"{name}.svg"
        if not source.is_file():
            raise node.SetUpFailed(f"@tabler/icons has no outline icon named {name}: correct ICONS in {__file__}.")
        # A shape is a path with nothing but its line; the bounding box has attributes besides.
        shapes = "".join(f'<path d="{line}"/>' for line in re.findall(r'<path d="([^"]+)" />', source.read_text()))
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{shapes}</symbol>')
    return f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(symbols)}</svg>\n'


def bundle_editor(target: Path) -> None:
    """The editor as one script, `Tiptap` to the pages."""
    esbuild = MODULES / "esbuild" / "bin" / "esbuild"
    program, _ = node.find()
    options = ["--bundle", "--minify", "--format=iife", "--global-name=Tiptap", "--log-level=warning"]
    entry = target.with_suffix(".entry.mjs")
    entry.write_text(EDITOR)
    try:
        command = [program, str(esbuild), str(entry), *options, f"--outfile={target}"]
        node.run(command, cwd=ROOT, what="Bundling the report editor")
    finally:
        entry.unlink()


def copy() -> None:
    """A new static/vendor, exchanged for the old one only when it is complete."""
    fresh = VENDOR.with_name("vendor.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for source, target in FILES.items():
        text = (MODULES / source).read_text(encoding="utf-8")
        # The maps are not copied, and the manifest of static files insists on what a file names.
        lines = [line for line in text.splitlines(keepends=True) if "sourceMappingURL=" not in line[:40]]
        (fresh / target).write_text("".join(lines), encoding="utf-8")
    bundle_editor(fresh / "tiptap.js")
    (fresh / "icons.svg").write_text(sprite(), encoding="utf-8")
    versions = json.loads((ROOT / "package.json").read_text())["dependencies"]
    (fresh / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")
    (fresh / "stamp").write_text(stamp())
    shutil.rmtree(VENDOR, ignore_errors=True)
    fresh.rename(VENDOR)


def main() -> int:
    if is_done():
        return 0
    print("Pages: styles, icons and htmx from npm", flush=True)
    try:
        install()
        copy()
    except (node.SetUpFailed, OSError) as error:
        print(f"Pages: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
