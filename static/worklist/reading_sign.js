// Signing: everything is on the server first, then the one who signs says the password again.

const { root, words, state } = window.reading;
const dialog = document.getElementById("sign-dialog");
const form = dialog.querySelector("form");
const error = dialog.querySelector("[data-error]");
let mode = "sign";

async function open(wanted) {
  if (window.reading.stopped) return;
  if (!(await window.reading.flush())) return;
  mode = wanted;
  error.textContent = "";
  form.password.value = "";
  const title = dialog.querySelector("#sign-title");
  title.textContent = mode === "sign" ? title.dataset.titleSign : title.dataset.titleAddendum;
  for (const part of form.querySelectorAll("[data-for]")) part.hidden = part.dataset.for !== mode;
  dialog.showModal();
  const first = mode === "addendum" ? form.addendum : (form.reason ?? form.password);
  first.focus();
  if (mode === "sign") document.dispatchEvent(new CustomEvent("reading:sign"));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const stays = event.submitter?.value === "stay";
  const buttons = [...form.querySelectorAll("button")];
  for (const button of buttons) button.disabled = true;
  error.textContent = "";
  const body = { version: window.reading.version, password: form.password.value };
  if (mode === "addendum") body.addendum = form.addendum.value;
  else Object.assign(body, { status: form.status?.value ?? "final", reason: form.reason?.value ?? "", supervisor: form.supervisor?.value ?? "" });
  try {
    const response = await window.reading.ask("POST", root.dataset.sign, body);
    const answer = await response.json();
    if (response.ok) {
      window.reading.done();
      if (stays) location.assign(answer.report);
      else document.getElementById("next-form").requestSubmit();
      return;
    }
    error.textContent = answer.message ?? (response.status === 401 ? words.signedOut : words.notSaved);
  } catch {
    error.textContent = words.offline;
  }
  form.password.value = "";
  for (const button of buttons) button.disabled = false;
  form.password.focus();
});

root.querySelector('[data-do="sign"]')?.addEventListener("click", () => open("sign"));
root.querySelector('[data-do="addendum"]')?.addEventListener("click", () => open("addendum"));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  event.stopPropagation();
  if (root.querySelector('[data-do="sign"]')) open("sign");
}, true);
if (state.readOnly) window.reading.say(words.readOnly);
