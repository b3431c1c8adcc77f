// Runs before the first paint: whoever sees a page may press its keys, also while its scripts are still on their way.
//
// What is pressed meanwhile outside of fields is kept, and given to the scripts once all of them listen, in order. So
// none of it is lost, and none is taken for something else: "/" and a name would otherwise be the name's letters alone,
// each of them a key with a meaning of its own.
{
  const FIELDS = "input, textarea, select, [contenteditable]";
  const early = [];

  const keep = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.key.length !== 1) return;
    if (event.target.closest(FIELDS) || (event.key === " " && !early.length)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    early.push(event.key);
  };

  const press = (key) => {
    const target = document.activeElement ?? document.body;
    const goesOn = target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    if (!goesOn || !target.matches("input, textarea") || target.selectionStart === null) return;
    target.setRangeText(key, target.selectionStart, target.selectionEnd, "end");
    target.dispatchEvent(new InputEvent("input", { data: key, inputType: "insertText", bubbles: true }));
  };

  window.addEventListener("keydown", keep, true);
  // After everybody else who waits for this event: htmx begins to listen at it.
  document.addEventListener("DOMContentLoaded", () =>
    setTimeout(() => {
      window.removeEventListener("keydown", keep, true);
      early.forEach(press);
    }),
  );
}
