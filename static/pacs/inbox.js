// The inbox: keys that answer, the place that is kept after an answer, and no update under one's hands.

const inbox = () => document.getElementById("inbox");
const cards = () => [...document.querySelectorAll("#inbox [data-rowgroup]")];
const isTyping = (element) => element.closest("input, textarea, select") !== null;

// Which card comes next after an answer: the one that then stands where the answered one stood.
let place = null;

document.addEventListener("keydown", (event) => {
  if (!["a", "r"].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const card = document.activeElement.closest("#inbox [data-rowgroup]");
  event.preventDefault();
  if (!card) {
    cards()[0]?.querySelector("[data-row]")?.focus();
    return;
  }
  card.querySelector(`[data-key="${event.key}"]`)?.click();
});

// An answer that needs a reason first asks for it.
document.addEventListener("click", (event) => {
  const button = event.target.closest("#inbox [data-needs]");
  const field = button && document.getElementById(button.dataset.needs);
  if (!field || field.value.trim()) return;
  event.preventDefault();
  field.required = true;
  field.focus();
  field.reportValidity();
});

document.addEventListener("submit", (event) => {
  const card = event.target.closest("#inbox [data-rowgroup]");
  if (card) place = cards().indexOf(card);
}, true);

const hasText = () => [...document.querySelectorAll("#inbox input:not([type=hidden])")].some(
  (field) => field.value !== field.defaultValue,
);

// Nothing moves while somebody types or reads an open part, also by an answer that was on its way when they began.
const isInUse = () =>
  hasText() || isTyping(document.activeElement) || document.querySelector("#inbox details[open]") !== null;
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target === inbox() && isInUse()) event.preventDefault();
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.requestConfig.elt === inbox() && isInUse()) event.detail.shouldSwap = false;
});

document.addEventListener("htmx:afterSettle", (event) => {
  if (place === null || event.detail.target?.id !== "inbox") return;
  const left = cards();
  const failed = document.querySelector("#inbox .is-invalid");
  const next = failed ?? left[Math.min(place, left.length - 1)]?.querySelector("[data-row]");
  place = null;
  if (!next) return;
  next.focus({ preventScroll: true });
  next.closest("[data-rowgroup]").scrollIntoView({ block: "nearest" });
});
