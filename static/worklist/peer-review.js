// Keys of a review: digits choose a score, d opens the reason of declining, Ctrl Enter sends.

const form = document.querySelector("[data-review]");
const isTyping = (element) => element.closest("input:not([type=radio]), textarea, select") !== null;
const choose = (...values) => {
  const chosen = form.elements.score.value;
  const next = values[(values.indexOf(chosen) + 1) % values.length];
  const field = form.querySelector(`[name="score"][value="${next}"]`);
  field.checked = true;
  field.focus();
};

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter" && !event.repeat) {
    event.preventDefault();
    form.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const action = {
    1: () => choose("1"),
    2: () => choose("2a", "2b"),
    3: () => choose("3a", "3b"),
    c: () => form.elements.comment.focus(),
    d: () => {
      const place = document.querySelector(".review-decline");
      if (!place) return;
      place.open = true;
      place.querySelector("input[name=reason]").focus();
    },
  }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
