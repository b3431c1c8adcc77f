// The second signature: what differs, before it is given, and sending back. And what happens to the images meanwhile.

const { root, words, state } = window.reading;

/* What differs from the resident's version */

const place = document.querySelector("[data-difference-place]");
document.addEventListener("reading:sign", async () => {
  if (!place) return;
  place.replaceChildren();
  try {
    const response = await fetch(root.dataset.difference);
    if (!response.ok) throw new Error(response.status);
    place.innerHTML = await response.text(); // our own template, every word escaped
  } catch {
    place.textContent = words.offline;
  }
});

/* Sending back */

const dialog = document.getElementById("return-dialog");
const button = root.querySelector('[data-do="return"]');
async function openReturn() {
  if (!button || window.reading.stopped || document.querySelector("dialog[open]")) return;
  if (!(await window.reading.flush())) return;
  dialog.querySelector("[data-error]").textContent = "";
  dialog.showModal();
}
button?.addEventListener("click", openReturn);
document.addEventListener("keydown", (event) => {
  if (!event.altKey || event.ctrlKey || event.metaKey || event.code !== "KeyB" || !button) return;
  event.preventDefault();
  openReturn();
});
dialog?.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const error = form.querySelector("[data-error]");
  const send = form.querySelector('[value="return"]');
  send.disabled = true;
  error.textContent = "";
  try {
    const body = { version: window.reading.version, comment: form.comment.value };
    const response = await window.reading.ask("POST", root.dataset.return, body);
    const answer = await response.json().catch(() => ({}));
    if (response.ok) {
      window.reading.done();
      document.getElementById("next-form").requestSubmit();
      return;
    }
    error.textContent = answer.message ?? (response.status === 401 ? words.signedOut : words.notSaved);
  } catch {
    error.textContent = words.offline;
  }
  send.disabled = false;
});
dialog?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.ctrlKey) event.stopPropagation(); // signs nothing
});

/* Images that come, or go, while one reads */

const EVERY = 30000;
const line = root.querySelector("[data-news-line]");
let seen = state.images;
let shown = "";

function tell(text, count) {
  if (shown === text) return;
  shown = text;
  line.hidden = !text;
  line.textContent = text;
  if (!count) return;
  const show = Object.assign(document.createElement("button"), { type: "button", className: "btn btn-sm", textContent: words.showThem });
  show.addEventListener("click", () => {
    seen = count;
    tell("");
    const frame = root.querySelector("iframe[data-viewer]");
    if (frame) frame.contentWindow.location.reload();
    else location.reload();
  });
  line.append(" ", show);
}

async function askForNews() {
  if (document.hidden) return;
  const response = await fetch(root.dataset.news).catch(() => null);
  if (!response?.ok) return;
  const { images, held } = await response.json();
  if (held && !state.held) tell(words.heldNow);
  else if (images > seen) tell(words.newImages.replace("%s", images - seen), images);
}
setInterval(askForNews, EVERY);
document.addEventListener("visibilitychange", askForNews);
