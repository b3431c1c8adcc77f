// The study page: forms in a dialog, keys, and the search in a header. Everything works without it, but the search.

const dialog = document.getElementById("action");
const isTyping = (element) => element.closest("input, textarea, select") !== null;

/* Forms of the study in a dialog: the same pages, shown in place. */

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-dialog]");
  if (!link || !dialog || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  link.closest("details.menu")?.removeAttribute("open");
  window.htmx.ajax("GET", link.getAttribute("href"), { target: "#action", swap: "innerHTML" }).then(() => {
    if (dialog.querySelector("form") && !dialog.open) dialog.showModal();
  });
});

// A form that was refused comes back with what was typed and what is wrong.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, target } = event.detail;
  if (target.id !== "action" || ![400, 403, 404, 409].includes(xhr.status)) return;
  event.detail.shouldSwap = xhr.responseText.includes("<form");
  event.detail.isError = false;
});

/* A link goes to the clipboard; where pages may not write to it (no HTTPS), it is marked for Ctrl-C. */

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copies);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    button.querySelector("span").textContent = button.dataset.copied;
  } catch {
    if (document.execCommand("copy")) button.querySelector("span").textContent = button.dataset.copied;
  }
});

/* How many images the marked series hold. */

document.addEventListener("change", (event) => {
  const form = event.target.closest("form.action-form");
  const words = form?.querySelector("[data-counts]");
  if (!words) return;
  const marked = [...form.querySelectorAll("input[name=series]:checked")];
  const images = marked.reduce((sum, box) => sum + Number(box.dataset.images), 0);
  words.hidden = !marked.length;
  words.textContent = `${images} ${words.dataset.words}`;
});

/* Keys */

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const row = document.activeElement.closest("[data-rowgroup]") ?? document.querySelector("[data-rowgroup]");
  const target = {
    i: () => row?.querySelector("[data-key=i]"),
    h: () => row?.querySelector("[data-key=h]"),
    c: () => document.querySelector("#study-actions [data-key=c]"),
    n: () => document.querySelector("[data-turn=n]"),
    b: () => document.querySelector("[data-turn=b]"),
  }[event.key]?.();
  if (!target) return;
  event.preventDefault();
  target.click();
});

/* The header: every word that is typed must stand in a row; the sequences around it stay in sight. */

const search = document.querySelector("[data-filters]");
if (search) {
  const rows = [...document.querySelectorAll(`#${search.dataset.filters} tbody tr`)];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const count = document.getElementById("header-count");
  const onlyCorrected = document.querySelector("[data-only-corrected]");

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const parents = [];
    let found = 0;
    for (const row of rows) row.hidden = true;
    rows.forEach((row, index) => {
      const depth = Number(row.dataset.depth);
      parents.length = depth;
      parents[depth] = row;
      if (!words.every((word) => texts[index].includes(word))) return;
      if (onlyCorrected.checked && !row.classList.contains("changed")) return;
      for (const shown of parents) if (shown) shown.hidden = false;
      if (!row.classList.contains("item")) found += 1;
    });
    count.textContent = `${found} ${count.dataset.words}`;
  };
  search.closest("[data-needs-script]").hidden = false;
  search.addEventListener("input", filter);
  onlyCorrected.addEventListener("change", filter);
  filter();
}
