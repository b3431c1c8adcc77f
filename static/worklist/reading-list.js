// The reading list: the time that is left goes on by itself, and keys press what the focused row offers.

const list = () => document.querySelector("[data-due-words]");

/* As worklist/reading_words.py: below two hours in minutes, below two days in hours, else in days. */

function told(milliseconds, words) {
  const minutes = Math.floor(Math.abs(milliseconds) / 60000);
  const [unit, count] =
    minutes >= 2880 ? [2, Math.floor(minutes / 1440)] : minutes >= 120 ? [1, Math.floor(minutes / 60)] : [0, minutes];
  return words[milliseconds < 0 ? "late" : "left"][unit].replace("%(n)s", count);
}

function tick() {
  const part = list();
  if (!part) return;
  const words = JSON.parse(part.dataset.dueWords);
  for (const time of part.querySelectorAll("time[data-due]")) {
    const left = Date.parse(time.dateTime) - Date.now();
    const text = told(left, words);
    const place = time.querySelector("span");
    if (place.textContent !== text) place.textContent = text;
    const meaning = left < 0 ? "urgent" : left <= part.dataset.soon * 60000 ? "waiting" : "";
    if (time.className !== meaning) time.className = meaning;
  }
}

setInterval(tick, 10000);
document.addEventListener("htmx:afterSwap", tick);
document.addEventListener("visibilitychange", () => document.hidden || tick());
tick();

/* Keys. One that is held down does a thing once. */

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
  if (event.target.closest("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
  if (!["n", "c", "u", "a"].includes(event.key)) return;
  const place = event.key === "n" ? list() : document.activeElement.closest("[data-rowgroup]");
  const button = place?.querySelector(`[data-press="${event.key}"]`);
  if (!button) return;
  event.preventDefault();
  button.click();
});
