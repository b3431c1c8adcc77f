// Templates and macros: a report begun with one key, and words that stand for sentences.

const { root, state, words, editors } = window.reading;
const API = "/api/v1/report-templates";
const dialog = document.getElementById("template-dialog");
const search = dialog.querySelector("input");
const list = dialog.querySelector(".choices");
const normalButton = root.querySelector('[data-do="normal"]');
const language = document.documentElement.lang.slice(0, 2) === "id" ? "id" : "en";
let templates = null;
let chosen = null;
let mode = "blank";
let entered = false;

const get = (address) => fetch(address, { headers: { Accept: "application/json" } }).then((response) => (response.ok ? response.json() : Promise.reject(response)));

let loading = null;
const load = () => {
  loading ??= get(`${API}?procedure=${state.procedure}&language=${language}`).then(
    (found) => {
      templates = found.data;
    },
    (refused) => {
      loading = null;
      throw refused;
    },
  );
  return loading;
};

// Without somebody's choice only what is meant for this examination says that it is normal.
const meant = () => {
  const mine = templates.filter((each) => each.language === templates[0].language);
  const bound = mine.filter((each) => each.fits === "procedure");
  const alike = mine.filter((each) => each.fits === "body_part");
  return bound[0] ?? (alike.length === 1 ? alike[0] : null);
};

// It opens before its templates have come: what is typed for it must not end in the report.
async function open(wanted = "blank") {
  if (dialog.open) return;
  mode = wanted;
  entered = false;
  search.value = "";
  list.replaceChildren();
  dialog.querySelector("[data-none]").hidden = true;
  dialog.querySelector("[data-comes]").hidden = templates !== null;
  dialog.showModal();
  try {
    await load();
  } catch {
    dialog.close();
    window.reading.say(words.noTemplates, "urgent");
    return;
  }
  dialog.querySelector("[data-comes]").hidden = true;
  fill();
  if (entered && dialog.open) chooseFirst();
}

const chooseFirst = () => list.querySelector("button")?.click();

function fill() {
  if (!templates) return;
  const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = templates.filter((each) => wanted.every((word) => `${each.name} ${each.code}`.toLowerCase().includes(word)));
  dialog.querySelector("[data-none]").hidden = found.length > 0;
  list.replaceChildren(
    ...found.slice(0, 60).map((each) => {
      const button = document.createElement("button");
      button.type = "button";
      const about = Object.assign(document.createElement("span"), { className: "text-secondary", textContent: ` ${each.language}` });
      button.append(each.name, about);
      button.addEventListener("click", () => choose(each));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}

async function choose(each) {
  dialog.close();
  try {
    chosen = await get(`${API}/${each.public_id}`);
  } catch {
    window.reading.say(words.noTemplates, "urgent");
    return;
  }
  normalButton.hidden = false;
  put(chosen[mode]);
}

// What is written already stays: a section that says something gets the template's text behind it, unless that is the
// template's own, of which the blanks become the normal sentences.
let given = {};
function put(sections) {
  if (window.reading.stopped) return;
  for (const [name, markup] of Object.entries(sections)) {
    const editor = editors.get(name);
    if (!editor) continue;
    const says = window.reading.textOf(editor.getHTML());
    if (!says || says === given[name]) editor.commands.setContent(markup, { emitUpdate: true });
    else if (!says.includes(window.reading.textOf(markup))) editor.chain().focus("end").insertContent(markup).run();
  }
  given = Object.fromEntries([...editors].map(([name, editor]) => [name, window.reading.textOf(editor.getHTML())]));
  const first = [...editors.values()].find((editor) => /\[[^[\]]*\]/.test(editor.getText())) ?? editors.get("findings");
  const at = first.getText().search(/\[[^[\]]*\]/);
  window.reading.go(first, at < 0 ? first.state.doc.content.size : 0);
  if (at >= 0) first.view.someProp("handleKeyDown", (press) => press(first.view, new KeyboardEvent("keydown", { key: "Tab" })));
}

async function normal() {
  if (chosen) {
    put(chosen.normal);
    return;
  }
  try {
    await load();
  } catch {
    window.reading.say(words.noTemplates, "urgent");
    return;
  }
  const best = templates.length ? meant() : null;
  if (!best) {
    await open("normal");
    return;
  }
  mode = "normal";
  await choose(best);
}

/* What stands there, kept for the next time */

const keep = dialog.querySelector("[data-keep]");
const keepName = keep.querySelector("input");
const keepError = keep.querySelector("[data-error]");
async function keepThis() {
  const button = keep.querySelector("[data-keeps]");
  button.disabled = true;
  keepError.textContent = "";
  try {
    const body = { name: keepName.value, sections: window.reading.current() };
    const response = await window.reading.ask("POST", keep.dataset.keep, body);
    const answer = await response.json();
    if (response.ok) {
      templates = loading = null;
      keep.open = false;
      keepName.value = "";
      dialog.close();
      window.reading.say(words.kept.replace("%s", answer.name));
    } else {
      keepError.textContent = answer.message ?? (response.status === 401 ? words.signedOut : words.notKept);
    }
  } catch {
    keepError.textContent = words.notKept;
  }
  button.disabled = false;
}
keep.querySelector("[data-keeps]").addEventListener("click", keepThis);
keepName.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  keepThis();
});

search.addEventListener("input", fill);
dialog.addEventListener("keydown", (event) => {
  if (keep.contains(event.target)) return;
  const buttons = [...list.querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const next = at + (event.key === "ArrowDown" ? 1 : -1);
    (buttons[next] ?? search).focus();
  } else if (event.key === "Enter" && event.target === search) {
    event.preventDefault();
    entered = templates === null;
    chooseFirst();
  }
});
root.querySelector('[data-do="template"]').addEventListener("click", () => open());
normalButton.addEventListener("click", normal);
document.addEventListener("keydown", (event) => {
  if (!event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.code === "KeyT" || event.code === "KeyN") {
    event.preventDefault();
    if (event.code === "KeyT") open();
    else normal();
  }
});

// ".abbreviation" and a space become what they stand for.
for (const editor of editors.values()) {
  editor.view.dom.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    const { $from, empty } = editor.state.selection;
    if (!empty) return;
    const before = $from.parent.textBetween(0, $from.parentOffset, " ", " ");
    const typed = before.match(/(?:^|\s)\.([\p{L}\d_-]{1,32})$/u)?.[1];
    const text = typed && state.macros[typed.toLowerCase()];
    if (!text) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const from = $from.pos - typed.length - 1;
    const chain = editor.chain().deleteRange({ from, to: $from.pos });
    `${text} `.split("\n").forEach((line, number) => {
      if (number) chain.splitBlock();
      if (line) chain.insertContent({ type: "text", text: line });
    });
    chain.run();
  }, true);
}
