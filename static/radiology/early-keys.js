// Runs before the first paint: whoever sees a page may press its keys, also while its scripts are still on their way.
//
// What is pressed meanwhile outside of fields is kept, and given to the scripts once all of them listen, in order. So
// none of it is lost, and none is taken for something else: "/" and a name would otherwise be the name's letters alone,
// each of them a key with a meaning of its own. What was typed into a field is told once more to those who listen now.
{
  const FIELDS = "input, textarea, select, [contenteditable]";
  const early = [];

  const keep = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.length !== 1 && !(event.key === "Enter" && early.length)) return;
    if (!early.length && (event.target.closest(FIELDS) || event.key === " ")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    early.push(event.key);
  };

  const say = (field, data) => field.dispatchEvent(new InputEvent("input", { data, inputType: "insertText", bubbles: true }));

  const press = (key) => {
    const target = document.activeElement ?? document.body;
    const goesOn = target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    if (goesOn && key === "Enter") {
      if (target.matches("a, button")) target.click();
      else target.form?.requestSubmit();
      return;
    }
    if (!goesOn || !target.matches("input, textarea") || target.selectionStart === null) return;
    target.setRangeText(key, target.selectionStart, target.selectionEnd, "end");
    say(target, key);
  };

  // The browser gives the first field the focus when it paints, on a busy machine after the first keys.
  const focusFirst = () => {
    if (document.activeElement !== document.body) return;
    const wanted = [...document.querySelectorAll("[autofocus]")].find((element) => element.offsetParent !== null);
    wanted?.focus();
  };

  // Who asks for what changed compares with the text that was there when it began to listen.
  const tellTyped = (field) => {
    if (!field.matches("input[type=search], input[type=text]") || field.value === field.defaultValue) return;
    const typed = field.value;
    field.value = field.defaultValue;
    say(field, null);
    field.value = typed;
    say(field, null);
  };

  window.addEventListener("keydown", keep, true);
  // After everybody else who waits for this event: htmx begins to listen at it.
  document.addEventListener("DOMContentLoaded", () =>
    setTimeout(() => {
      window.removeEventListener("keydown", keep, true);
      focusFirst();
      if (document.activeElement) tellTyped(document.activeElement);
      early.forEach(press);
    }),
  );
}
