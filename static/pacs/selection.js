// Marked studies: checkboxes with data-pick, wherever they stand, and the bar with form#selection.
//
// The set of what is marked lives here and in the tab's session storage, not in the rows: a live update, another page
// of the list or a search that hides a row takes nothing out of it, and the bar says how many are not on this page.
// Keys: x marks the row with the focus, Shift+click marks all between, Escape unmarks.

const STORE = "picked-studies";
const form = document.getElementById("selection");
const kept = document.getElementById("kept-picks");
const picked = new Set();
let last = null;

const boxes = () => [...document.querySelectorAll("[data-pick]")];

function remember() {
  sessionStorage.setItem(STORE, JSON.stringify({ page: location.pathname, uids: [...picked] }));
}

function recall() {
  // What was marked comes back with the page that it was marked on: by going back, reloading, or turning a page.
  const [navigation] = performance.getEntriesByType("navigation");
  const turned = document.referrer && new URL(document.referrer).pathname === location.pathname;
  if (navigation.type === "navigate" && !turned) return;
  const stored = JSON.parse(sessionStorage.getItem(STORE) ?? "{}");
  if (stored.page === location.pathname) stored.uids.forEach((uid) => picked.add(uid));
}

function show() {
  const shown = boxes();
  const here = new Set();
  for (const box of shown) {
    box.checked = picked.has(box.value);
    box.closest("[data-rowgroup]")?.toggleAttribute("data-picked-row", box.checked);
    if (box.checked) here.add(box.value);
  }
  const elsewhere = [...picked].filter((uid) => !here.has(uid));
  kept.replaceChildren(
    ...elsewhere.map((uid) => Object.assign(document.createElement("input"), { type: "hidden", name: "StudyInstanceUIDs", value: uid })),
  );
  form.classList.toggle("in-use", picked.size > 0);
  form.querySelector("[data-picked]").textContent = picked.size;
  form.querySelector("[data-elsewhere-count]").textContent = elsewhere.length ? `(${elsewhere.length} ${form.dataset.elsewhere})` : "";
  for (const button of form.querySelectorAll("[data-picks]")) button.disabled = picked.size !== Number(button.dataset.picks);
  const all = document.querySelector("[data-pick-all]");
  if (all) {
    all.checked = shown.length > 0 && here.size === shown.length;
    all.indeterminate = here.size > 0 && here.size < shown.length;
  }
}

function pick(box, yes) {
  if (yes) picked.add(box.value);
  else picked.delete(box.value);
}

function changed() {
  remember();
  show();
}

function clear() {
  picked.clear();
  changed();
}

document.addEventListener("click", (event) => {
  const box = event.target.closest("[data-pick]");
  if (box) {
    const shown = boxes();
    const from = event.shiftKey ? shown.findIndex((each) => each.value === last) : -1;
    const to = shown.indexOf(box);
    const range = from === -1 ? [box] : shown.slice(Math.min(from, to), Math.max(from, to) + 1);
    for (const each of range) pick(each, box.checked);
    last = box.value;
    changed();
  } else if (event.target.closest("[data-pick-all]")) {
    for (const each of boxes()) pick(each, event.target.checked);
    changed();
  } else if (event.target.closest("[data-unpick]")) {
    clear();
  }
});

document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-forgets-picks]")) {
    picked.clear();
    remember();
  }
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open], details.menu[open]")) return;
  if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
  if (event.key === "x") {
    const box = document.activeElement.closest("[data-rowgroup]")?.querySelector("[data-pick]");
    if (!box) return;
    event.preventDefault();
    pick(box, !picked.has(box.value));
    last = box.value;
    changed();
  } else if (event.key === "Escape" && picked.size) {
    clear();
  }
});

document.addEventListener("htmx:afterSwap", show);
window.addEventListener("pageshow", show);
recall();
show();
