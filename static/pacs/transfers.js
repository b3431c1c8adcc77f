// The search at other archives: a row is marked by Enter; the button of a row fetches that study alone.

document.addEventListener("keydown", (event) => {
  const box = event.target.closest?.(".remote-studies [data-row]");
  if (!box || event.key !== "Enter") return;
  event.preventDefault();
  box.click();
});

document.addEventListener("click", (event) => {
  const alone = event.target.closest("[data-alone]");
  if (!alone) return;
  for (const box of alone.form.querySelectorAll("[data-row]")) box.checked = false;
});
