// Notices: the bar at the bottom that says what was done, and takes it back.
//
// A view calls radiology.notices.say(request, text, undo=reverse("…")) and redirects; base.html shows the bar on the
// next page. A view that answers htmx with a part adds {% include "radiology/_notices.html" with oob=True %} to it.
// `undo` is an address that takes a POST (with `next`, the page to come back to, which it must check with
// url_has_allowed_host_and_scheme or ignore). The bar stays for data-seconds, and waits while it is pointed at,
// holds the focus, or the window is hidden; without data-seconds it stays until somebody closes it.
// Keys: u takes the newest back. Tab reaches it as the last thing of the page.

const TICK = 250;

function start(notice) {
  if (notice.dataset.started) return;
  notice.dataset.started = "yes";
  const seconds = Number(notice.dataset.seconds);
  if (!seconds) return;
  const bar = document.createElement("progress");
  bar.max = seconds * 1000;
  bar.value = bar.max;
  bar.setAttribute("aria-hidden", "true");
  notice.append(bar);
  const timer = setInterval(() => {
    if (!notice.isConnected) return clearInterval(timer);
    if (document.hidden || notice.matches(":hover, :focus-within")) return;
    bar.value -= TICK;
    if (bar.value <= 0) notice.remove();
  }, TICK);
}

const startAll = () => document.querySelectorAll("[data-notice]").forEach(start);

document.addEventListener("click", (event) => {
  const closer = event.target.closest("[data-dismiss-notice]");
  if (closer) closer.closest("[data-notice]").remove();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "u" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  if (document.querySelector("dialog[open]")) return;
  const offers = document.querySelectorAll("[data-undo]");
  if (!offers.length) return;
  event.preventDefault();
  offers[offers.length - 1].click();
});

document.addEventListener("htmx:afterSettle", startAll);
startAll();
