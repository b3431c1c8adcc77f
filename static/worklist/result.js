// A result: images are loaded where there is room for them; keys go from result to result.

const frame = document.querySelector("iframe[name=images]");
const wide = window.matchMedia("(min-width: 62.01rem)");

function load() {
  if (frame && wide.matches && !frame.src) frame.src = frame.dataset.viewer;
}
wide.addEventListener("change", load);
load();

// Without the frame a former study opens in the window itself.
for (const link of document.querySelectorAll("[data-prior]")) {
  link.addEventListener("click", () => (link.target = wide.matches ? "images" : "_self"));
}

document.querySelector("[data-print]")?.addEventListener("click", () => window.print());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
  if (!["j", "k"].includes(event.key)) return;
  document.querySelector(`[data-press="${event.key}"]`)?.click();
});
