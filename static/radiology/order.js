// The order form by keyboard: arrows walk through what was found, Enter takes the first, one click orders once.
// On the page of an order, "a" adds a procedure.

const picks = (picker) => [...picker.querySelectorAll("[data-pick]")];

document.addEventListener("keydown", (event) => {
  const picker = event.target.closest("[data-picker]");
  if (!picker) {
    // In the other lines Enter sends nothing: the order is placed by its button.
    if (event.key === "Enter" && event.target.matches(".order-form input:not([type=checkbox], [type=radio])")) event.preventDefault();
    return;
  }
  const found = picks(picker);
  const at = found.indexOf(document.activeElement);
  if (event.key === "ArrowDown" && found.length) {
    event.preventDefault();
    found[Math.min(found.length - 1, at + 1)].focus();
  } else if (event.key === "ArrowUp" && at >= 0) {
    event.preventDefault();
    if (at === 0) picker.querySelector("input[type=search]").focus();
    else found[at - 1].focus();
  } else if (event.key === "Enter" && event.target.matches("input[type=search]")) {
    event.preventDefault();
    event.stopPropagation();
    if (found.length) found[0].click();
    else pending = event.target;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "a" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
  const adds = document.querySelector('.order-page [data-key="a"]');
  if (!adds) return;
  event.preventDefault();
  adds.click();
});

// Whoever types and presses Enter at once takes the first when it has arrived.
let pending = null;
document.addEventListener("input", () => (pending = null));

// An answer that comes late replaces what one walks through: the focus stays in it.
let walked = false;
document.addEventListener("htmx:beforeSwap", (event) => {
  const target = event.detail.target;
  walked = target.closest("[data-picker]") !== null && target.contains(document.activeElement);
});

document.addEventListener("htmx:afterSwap", (event) => {
  const target = event.detail.target;
  if (walked) picks(target)[0]?.focus();
  walked = false;
});

// Only what has settled is htmx's to send. After a step the part is new: a side that is still to be chosen comes next,
// else the next procedure.
document.addEventListener("htmx:afterSettle", (event) => {
  const target = event.detail.target;
  if (pending && target.closest("[data-picker]")) {
    const [first] = picks(target);
    pending = null;
    first?.click();
  }
  if (event.detail.elt?.id !== "order-form") return;
  const sides = [...document.querySelectorAll(".chosen .chips")];
  const open = sides.find((group) => !group.querySelector("input:checked"));
  (open?.querySelector("input") ?? document.getElementById("procedure-text"))?.focus();
});

document.addEventListener("submit", (event) => {
  const button = event.target.querySelector("[data-once]");
  if (!button || event.submitter !== button) return;
  if (button.dataset.sent) event.preventDefault();
  button.dataset.sent = "1";
  button.setAttribute("aria-busy", "true");
});

// Coming back by the browser's button, the form can be sent again; its key makes it the same order.
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("[data-once]")) {
    delete button.dataset.sent;
    button.removeAttribute("aria-busy");
  }
});

document.querySelector("[data-focus], [aria-invalid=true]")?.focus();
