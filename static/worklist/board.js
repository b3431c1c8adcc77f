// Keys of the board and of an examination: what the focused card offers; cards that are dragged between rooms.
// Everything works without it: each card has its buttons and its menu of rooms.

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  if (document.querySelector("dialog[open]") || !["a", "s", "d"].includes(event.key)) return;
  const card = document.activeElement.closest("[data-rowgroup]") ?? document.querySelector("#examination");
  const button = card?.querySelector(`button[data-key="${event.key}"]`);
  if (!button) return;
  event.preventDefault();
  button.click();
});

/* Dragging presses the button of the card's own menu of rooms. */

let dragged = null;

const roomButton = (event) => {
  const column = dragged && event.target.closest?.("[data-room]");
  return column && dragged.querySelector(`button[name="room"][value="${column.dataset.room}"]`);
};

const mark = (column) => {
  for (const each of document.querySelectorAll("[data-room].is-over")) each.classList.remove("is-over");
  column?.classList.add("is-over");
};

document.addEventListener("dragstart", (event) => {
  dragged = event.target.closest?.("[data-step]") ?? null;
  if (dragged) event.dataTransfer.effectAllowed = "move";
});
document.addEventListener("dragover", (event) => {
  const button = roomButton(event);
  mark(button ? event.target.closest("[data-room]") : null);
  if (button) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  const button = roomButton(event);
  mark(null);
  if (!button) return;
  event.preventDefault();
  button.click();
});
document.addEventListener("dragend", () => {
  dragged = null;
  mark(null);
});
