"""What is changed in the viewer's own scripts, so that the first image is there sooner (docs/performance.md).

Rows as `deploy.ohif.REWRITES` has them: files, pattern, replacement, how many in all those files.
"""

# Seven WebGL contexts were made before the first viewport had one; now each when a viewport is given it.
CONTEXTS_WHEN_ASKED = [
    (
        "app.bundle.*.js",
        r"for \(let i = 0; i < count; i\+\+\) \{(\s+const offscreenMultiRenderWindow = )",
        r"this.contexts.length = count; this.begin = (i) => {\1",
        1,
    ),
    ("app.bundle.*.js", r"contexts\.push\(offscreenMultiRenderWindow\)", "contexts[i] = offscreenMultiRenderWindow", 1),
    (
        "app.bundle.*.js",
        r"offScreenCanvasContainers\.push\(container\);\s+\}",
        "offScreenCanvasContainers[i] = container; };",
        1,
    ),
    (
        "app.bundle.*.js",
        r"if \(index >= 0 && index < this\.contexts\.length\) \{",
        r"\g<0> if (!this.contexts[index]) this.begin(index);",
        1,
    ),
]

# Thumbnails waited for a quarter of a second, and so came between: a whole image each, and a renderer of their own.
# They begin when the image has come to the screen, which is a frame after it was drawn.
# Where nothing is drawn (a PDF, a film) they begin after two seconds.
THUMBNAILS_AFTER_THE_IMAGE = [
    (
        "89.bundle.*.js",
        (
            r"const delayMs = 250 \+ displaySetService\.getActiveDisplaySets\(\)\.length \* 10;"
            r"\s+window\.setTimeout\(\(\) => setHasLoadedViewports\(true\), delayMs\);"
        ),
        (
            "const begin = () => window.setTimeout(() => setHasLoadedViewports(true), 0);"
            "const shown = () => requestAnimationFrame(() => requestAnimationFrame(begin));"
            'document.addEventListener("CORNERSTONE_IMAGE_RENDERED", shown, { capture: true, once: true });'
            "window.setTimeout(begin, 2000);"
        ),
        1,
    ),
]

# The page has asked already (templates/pacs/viewer-early.js).
ASKED_EARLY = [
    (
        "8478.bundle.*.js",
        (
            r"(Accept: MEDIATYPES\.DICOM_JSON\s+\};\s+var responseType = 'json';\s+return )"
            r"(this\._httpGet\((urlWithQueryParams), [^)]*\))"
        ),
        r"\1window.sinarEarly(\3, () => \2)",
        1,
    ),
]

# Seven modes came with what they need, though an address opens one. The viewer's own now comes alone; the addresses of
# the others, and of local files, have all of them as before.
ONE_MODE = [
    (
        "app.bundle.*.js",
        (
            r'pluginImports_(modes\.push\("@ohif/mode-(?!longitudinal)'
            r'|extensions\.push\("@ohif/extension-ultrasound-pleura-bline)'
        ),
        r"/^[/]ohif[/]viewer([/]|$)/.test(location.pathname) || \g<0>",
        7,
    ),
]

# What was worked out at length and then not used: a digest of each key's command, to find the keys that a person has
# chosen, where none were; whether the images could be a volume under other series, where there is no other.
NOT_WORKED_OUT_IN_VAIN = [
    (
        "app.bundle.*.js",
        r"const updatedDefinitions = definitions\.map\(definition => \{(?=\s+const commandHash)",
        r"\g<0> if (!Object.keys(userPreferredKeys).length) return definition;",
        1,
    ),
    (
        "89.bundle.*.js",
        r"const backgroundCanBeVolume = (?=esm\.utilities\.isValidVolume\(viewportDisplaySets\[0\])",
        r"\g<0>otherDisplaySets.length > 0 && ",
        1,
    ),
]

REWRITES: list[tuple[str, str, str, int]] = [
    *CONTEXTS_WHEN_ASKED,
    *THUMBNAILS_AFTER_THE_IMAGE,
    *ASKED_EARLY,
    *ONE_MODE,
    *NOT_WORKED_OUT_IN_VAIN,
]
