// The slip's own button; the browser's print command does the same.

const button = document.querySelector("[data-print]");
button.hidden = false;
button.addEventListener("click", () => window.print());
button.focus();
