// Reconciliation: keys that link, the place that is kept after an answer, and no update under one's hands.

const list = () => document.getElementById("reconciliation");
const cards = () => [...document.querySelectorAll("#reconciliation .case")];
const isTyping = (element) => element.closest("input, textarea, select") !== null;

// Which card comes next after an answer: the one that then stands where the answered one stood.
let place = null;

const KEYS = /^([1-9]|n|o|s)$/;

document.addEventListener("keydown", (event) => {
  const enters = event.key === "Enter" && event.target.matches?.("#reconciliation .case [data-row]");
  if (!(enters || KEYS.test(event.key)) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  // A key that is held down, or pressed twice, must not answer the next case unseen.
  if (event.repeat || place !== null) return event.preventDefault();
  const card = document.activeElement.closest("#reconciliation .case");
  event.preventDefault();
  if (!card) {
    cards()[0]?.querySelector("[data-row]")?.focus();
    return;
  }
  card.querySelector(`[data-key="${enters ? 1 : event.key}"]`)?.click();
});

document.addEventListener("submit", (event) => {
  const card = event.target.closest("#reconciliation .case");
  if (card && event.target.hasAttribute("hx-post")) place = cards().indexOf(card);
}, true);

const hasText = () => [...document.querySelectorAll("#reconciliation input:not([type=hidden])")].some(
  (field) => field.value !== field.defaultValue,
);

// Nothing moves while somebody types or has an open part before them, also by an answer on its way when they began.
const isInUse = () =>
  hasText() || isTyping(document.activeElement) || document.querySelector("#reconciliation details[open]") !== null;
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target === list() && isInUse()) event.preventDefault();
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.requestConfig.elt === list() && isInUse()) event.detail.shouldSwap = false;
});

const failed = () => { place = null; };
document.addEventListener("htmx:sendError", failed);
document.addEventListener("htmx:responseError", failed);
document.addEventListener("htmx:timeout", failed);

document.addEventListener("htmx:afterSettle", (event) => {
  if (place === null || event.detail.requestConfig?.verb !== "post") return;
  const left = cards();
  const wrong = document.querySelector("#reconciliation .field-error")?.closest(".case");
  const next = (wrong ?? left[Math.min(place, left.length - 1)])?.querySelector("[data-row]");
  place = null;
  if (!next) return;
  next.focus({ preventScroll: true });
  next.closest(".case").scrollIntoView({ block: "nearest" });
});
