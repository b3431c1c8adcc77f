// Keyboard, menus, live parts. Everything works without it except what is live.

const POLL_EVERY = 1000;
const POLL_AFTER_ERROR = 5000;

const isTyping = (element) => element.closest("input, textarea, select, [contenteditable]") !== null;

/* Rows: j and k move the focus between the first links of the rows, so that it survives a live update. */

const rowLinks = () => [...document.querySelectorAll("[data-row]")].filter((link) => link.offsetParent !== null);

function moveRow(step) {
  const links = rowLinks();
  if (!links.length) return;
  const row = document.activeElement.closest("[data-rowgroup]");
  const current = row ? links.indexOf(row.querySelector("[data-row]")) : -1;
  const next = current === -1 ? (step > 0 ? 0 : links.length - 1) : current + step;
  const link = links[Math.max(0, Math.min(links.length - 1, next))];
  link.focus({ preventScroll: true });
  link.closest("[data-rowgroup]").scrollIntoView({ block: "nearest" });
}

function openFromRow(kind) {
  const row = document.activeElement.closest("[data-rowgroup]") ?? document;
  row.querySelector(`[data-key="${kind}"]`)?.click();
}

/* Keys */

let chord = "";
let chordUntil = 0;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const search = document.getElementById("q");
  if (event.key === "Escape" && event.target === search) {
    search.blur();
    return;
  }
  if (event.key === "Enter" && event.target === search && !("submits" in search.dataset)) {
    event.preventDefault();
    rowLinks()[0]?.focus();
    return;
  }
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  if (chord === "g" && event.timeStamp < chordUntil) {
    chord = "";
    if (event.key === "h") location.assign("/");
    if (event.key === "s") location.assign("/worklist?view=studies");
    if (event.key === "b") location.assign("/worklist?view=board");
    return;
  }
  const action = {
    "/": () => (search ? (search.focus(), search.select()) : location.assign("/worklist?search")),
    "?": () => document.getElementById("keys")?.showModal(),
    j: () => moveRow(1),
    k: () => moveRow(-1),
    v: () => openFromRow("v"),
    p: () => openFromRow("p"),
    o: () => openFromRow("o"),
    r: () => openFromRow("r"),
    e: () => openFromRow("e"),
    g: () => {
      chord = "g";
      chordUntil = event.timeStamp + 1500;
    },
  }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

/* Menus and dialogs */

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens)?.showModal();
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector("details.menu[open]");
  if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

/* A dialog that comes with a part opens; forms tell where they were sent from, as the address stands then. */

document.addEventListener("htmx:afterSwap", (event) => {
  const dialog = event.detail.target?.querySelector?.("dialog[data-open]");
  if (dialog && !dialog.open) dialog.showModal();
});
document.addEventListener("click", (event) => event.target.closest("[data-closes]")?.closest("dialog")?.close());

const tellPlace = (form) => {
  for (const field of form.querySelectorAll("[data-here]")) field.value = location.pathname + location.search;
  for (const field of form.querySelectorAll("[data-here-query]")) field.value = location.search;
};
document.addEventListener("submit", (event) => tellPlace(event.target), true);
document.addEventListener("htmx:configRequest", (event) => {
  const form = event.detail.elt.closest("form");
  const here = form?.querySelector("[data-here]");
  if (here) event.detail.parameters[here.name] = location.pathname + location.search;
});

/* Coming back to a list, the row that was left has the focus again; where one had scrolled to the browser knows. */

window.addEventListener("pagehide", () => {
  const row = document.activeElement?.closest("[data-rowgroup][id]");
  if (row) sessionStorage.setItem(`row ${location.pathname}`, row.id);
});
{
  const [navigation] = performance.getEntriesByType("navigation");
  const row = navigation?.type === "back_forward" && document.getElementById(sessionStorage.getItem(`row ${location.pathname}`));
  if (row) row.querySelector("[data-row]")?.focus({ preventScroll: true });
}

/* A thumbnail that cannot be drawn leaves the drawing that lies under it. */

document.addEventListener(
  "error",
  (event) => {
    if (event.target instanceof HTMLImageElement && event.target.closest(".thumbnail")) event.target.hidden = true;
  },
  true,
);

/* Live parts: ask again and again, with the version that is shown; 304 changes nothing. */

const offline = document.getElementById("offline");
let failed = false;

function poll() {
  if (!document.hidden) {
    for (const part of document.querySelectorAll("[data-live]")) window.htmx.trigger(part, "poll");
  }
  setTimeout(poll, failed ? POLL_AFTER_ERROR : POLL_EVERY);
}

function reached(yes) {
  failed = !yes;
  if (offline) offline.hidden = yes;
}

// A search gives a part another address. htmx learns of it a moment after it is shown, and an answer for the old one
// may still be on its way: what is asked for, and what is taken, is what the part shows now.
document.addEventListener("htmx:configRequest", (event) => {
  const part = event.detail.elt;
  if (!part.dataset.live) return;
  event.detail.path = part.getAttribute("hx-get");
  event.detail.headers["If-None-Match"] = part.dataset.live;
});
document.addEventListener("htmx:beforeSwap", (event) => {
  const { elt, path } = event.detail.requestConfig;
  if (elt.dataset.live && path !== elt.getAttribute("hx-get")) event.detail.shouldSwap = false;
});

// What somebody opened stays open: no answer of the server's knows of it.
window.Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element, change) =>
  !(name === "open" && change === "remove" && element instanceof HTMLDetailsElement);

// What stands at the top of the window stays there when rows come in above it.
let anchor = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.detail.target;
  const rows = part.dataset.live && window.scrollY > 0 ? part.querySelectorAll("[data-rowgroup][id]") : [];
  const row = [...rows].find((candidate) => candidate.getBoundingClientRect().bottom > 0);
  anchor = row ? { id: row.id, top: row.getBoundingClientRect().top } : null;
});
document.addEventListener("htmx:afterSwap", () => {
  const row = anchor && document.getElementById(anchor.id);
  if (row) window.scrollBy({ top: row.getBoundingClientRect().top - anchor.top, behavior: "instant" });
  anchor = null;
});

document.addEventListener("htmx:afterRequest", (event) => {
  const status = event.detail.xhr.status;
  if (status) reached(status < 500);
});
document.addEventListener("htmx:sendError", () => reached(false));
document.addEventListener("htmx:timeout", () => reached(false));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    for (const part of document.querySelectorAll("[data-live]")) window.htmx.trigger(part, "poll");
  }
});
setTimeout(poll, POLL_EVERY);

if (new URLSearchParams(location.search).has("search")) document.getElementById("q")?.focus();
