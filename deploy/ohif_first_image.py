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
            'document.addEventListener("CORNERSTONE_IMAGE_RENDERED", begin, { capture: true, once: true });'
            "window.setTimeout(begin, 2000);"
        ),
        1,
    ),
]

REWRITES: list[tuple[str, str, str, int]] = [*CONTEXTS_WHEN_ASKED, *THUMBNAILS_AFTER_THE_IMAGE]
