// What cannot wait: told from beside the report, before it is signed; and whether somebody knows.

const { root, words } = window.reading;
const dialog = document.getElementById("critical-dialog");
const form = dialog.querySelector("form");
const error = dialog.querySelector("[data-error]");
const list = dialog.querySelector("[data-results]");
const button = root.querySelector('[data-do="critical"]');
const address = dialog.dataset.address;
let proposed = "";
let busy = false;

const element = (name, values, ...children) => {
  const made = Object.assign(document.createElement(name), values);
  made.append(...children);
  return made;
};

function show(answer) {
  const { recipient, hasAccount, results } = answer;
  proposed = recipient;
  dialog.querySelector("[data-account]").textContent = recipient && !hasAccount ? dialog.dataset.noAccount : "";
  const open = results.filter((each) => each.isOpen).length;
  button.querySelector("[data-count-critical]").textContent = open || "";
  button.classList.toggle("urgent", open > 0);
  list.replaceChildren(...results.map(entry));
}

function entry(each) {
  const link = element("a", { href: each.address, target: "_blank", textContent: each.finding });
  const item = element("li", { className: each.isOpen ? each.category : "over" }, link, element("p", { textContent: each.state }));
  if (!each.isOpen) return item;
  const told = element("input", { className: "form-control", maxLength: 324, placeholder: dialog.dataset.whom, ariaLabel: dialog.dataset.whom });
  const noted = element("button", { type: "button", className: "btn btn-sm", textContent: dialog.dataset.told });
  noted.addEventListener("click", () => send({ result: each.id, told: told.value, readBack: form.readBack.checked }));
  const reason = element("input", { className: "form-control", maxLength: 200, placeholder: dialog.dataset.why, ariaLabel: dialog.dataset.why });
  const withdraw = element("button", { type: "button", className: "btn btn-sm", textContent: dialog.dataset.withdraw });
  withdraw.addEventListener("click", () => send({ withdraw: each.id, reason: reason.value }));
  for (const [field, press] of [[told, noted], [reason, withdraw]]) {
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      press.click();
    });
  }
  item.append(element("div", { className: "one-line" }, told, noted), element("div", { className: "one-line" }, reason, withdraw));
  return item;
}

async function load() {
  const response = await fetch(address, { headers: { Accept: "application/json" } });
  if (response.ok) show(await response.json());
  return response.ok;
}

async function send(body) {
  if (busy) return false;
  busy = true;
  error.textContent = "";
  try {
    const response = await window.reading.ask("POST", address, body);
    const answer = await response.json().catch(() => ({}));
    if (response.ok) show(answer);
    else error.textContent = answer.message ?? (response.status === 401 ? words.signedOut : words.offline);
    return response.ok;
  } catch {
    error.textContent = words.offline;
    return false;
  } finally {
    busy = false;
  }
}

const selected = () => {
  const { state: text } = window.reading.last;
  const { from, to } = text.selection;
  return text.doc.textBetween(from, to, " ", " ").trim();
};

async function open() {
  if (dialog.open) return;
  error.textContent = "";
  const impression = window.reading.textOf(window.reading.current().impression);
  form.finding.value = (selected() || impression).slice(0, 500);
  form.told.value = "";
  form.readBack.checked = false;
  dialog.showModal();
  form.finding.focus();
  try {
    if (!(await load())) error.textContent = words.offline;
    form.recipient.value ||= proposed;
  } catch {
    error.textContent = words.offline;
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { finding, recipient, told, readBack } = form;
  const category = form.category.value;
  const body = { finding: finding.value, category, recipient: recipient.value, told: told.value, readBack: readBack.checked };
  if (await send(body)) {
    finding.value = told.value = "";
    readBack.checked = false;
  }
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.ctrlKey) event.stopPropagation(); // signs nothing
});

button.addEventListener("click", open);
document.addEventListener("keydown", (event) => {
  if (!event.altKey || event.ctrlKey || event.metaKey || event.code !== "KeyC") return;
  event.preventDefault();
  open();
});
load().catch(() => {}); // the dialog says it when there is no connection
