// The report's text: an editor for each section. What is typed is sent within half a second, and kept on this computer
// until the server says that it has it. The other scripts of the page work through `window.reading`.

const { Editor, StarterKit } = window.Tiptap;
const root = document.querySelector("[data-reading]");
const state = JSON.parse(document.getElementById("reading-state").textContent);
const words = JSON.parse(document.getElementById("reading-words").textContent);
const KEPT = `sinar report ${state.user} ${state.procedure}`;
const SEND_EVERY = 400;
const AGAIN = [1000, 2000, 5000];

const editors = new Map();
let version = state.version;
let isDraft = state.isDraft;
let changes = 0; // how often something was typed
let told = 0; // up to which of them the server has it
let timer = 0;
let sending = null;
let sent = null; // what is on its way, or was when the answer got lost
let failures = 0;
let stopped = state.readOnly;

/* Text */

const fragment = document.createElement("template");
const textOf = (markup) => {
  fragment.innerHTML = (markup ?? "").replaceAll(/<\/(p|li)>|<br>/g, "\n");
  return fragment.content.textContent.replaceAll(/\s+/g, " ").trim();
};
const isSame = (one, other) =>
  [...new Set([...Object.keys(one), ...Object.keys(other)])].every((name) => textOf(one[name]) === textOf(other[name]));
// Every word of `one` stands in `other`: a browser that is killed may bring back what it kept long before.
const isWithin = (one, other) => Object.keys(one).every((name) => textOf(other[name]).includes(textOf(one[name])));
const current = () =>
  Object.fromEntries([...editors].map(([name, editor]) => [name, editor.getHTML()]).filter(([, markup]) => textOf(markup)));

function show(sections) {
  for (const [name, editor] of editors) editor.commands.setContent(sections[name] ?? "", { emitUpdate: false });
}

/* Status */

const savedLine = root.querySelector("[data-saved]");
function say(text, kind = "", link = null) {
  savedLine.className = `saved ${kind}`;
  savedLine.textContent = text;
  if (!link) return;
  const anchor = Object.assign(document.createElement("a"), { href: link, target: "_blank", textContent: words.signIn });
  savedLine.append(" ", anchor);
}
function warn(warnings) {
  for (const list of document.querySelectorAll("[data-warnings]")) {
    list.replaceChildren(...warnings.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  }
}
const discardButton = root.querySelector('[data-do="discard"]');
const showDiscard = () => (discardButton.hidden = !isDraft || stopped);

/* Keeping */

function keepHere() {
  try {
    localStorage.setItem(KEPT, JSON.stringify({ sections: current(), version, sent, at: Date.now() }));
  } catch {
    // No room, or none allowed: the server has it within half a second all the same.
  }
}
const forgetHere = () => localStorage.removeItem(KEPT);

function typed() {
  if (stopped) return;
  changes += 1;
  keepHere();
  if (!failures) say(words.saving);
  plan(SEND_EVERY);
}
function plan(after) {
  if (!timer && !sending) timer = setTimeout(send, after);
}

function ask(method, address, body) {
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]*)/)?.[1] ?? "";
  return fetch(address, {
    method,
    headers: { "Content-Type": "application/json", "X-CSRFToken": token },
    body: JSON.stringify({ user: state.user, ...body }),
    keepalive: document.visibilityState === "hidden",
  });
}

async function send() {
  clearTimeout(timer);
  timer = 0;
  if (stopped || sending || told === changes) return sending;
  const upTo = changes;
  const sections = current();
  sent = sections;
  sending = ask("PUT", root.dataset.draft, { sections, version }).then(answered.bind(null, upTo), lost);
  await sending;
  sending = null;
  if (told !== changes && !stopped) plan(failures ? AGAIN[Math.min(failures, AGAIN.length) - 1] : SEND_EVERY);
  return null;
}

async function answered(upTo, response) {
  if (response.status >= 500) return lost();
  const answer = await response.json().catch(() => ({}));
  if (response.ok) {
    ({ version } = answer);
    [told, sent, failures, isDraft] = [upTo, null, 0, true];
    if (told === changes) forgetHere();
    else keepHere();
    say(`${words.saved} ${new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" })}`, "done");
    warn(answer.warnings);
    showDiscard();
  } else if (response.status === 412) {
    await differs(answer.there);
  } else if (response.status === 401) {
    failures += 1;
    say(words.signedOut, "urgent", answer.signIn);
  } else if (response.status === 403 && !answer.message) {
    failures += 1; // a new session has another token: the next try reads it
    say(words.signedOut, "urgent", location.href);
  } else {
    stop(answer.message ?? words.notSaved);
  }
  return null;
}

function lost() {
  failures += 1;
  say(words.offline, "urgent");
}

function stop(message) {
  stopped = true;
  for (const editor of editors.values()) editor.setEditable(false);
  say(message, "urgent");
  showDiscard();
}

/* Two who write */

async function differs(there, mine = current()) {
  const isLostAnswer = sent && there && isSame(there.sections, sent);
  if (!there || isSame(there.sections, mine) || isLostAnswer) {
    version = there?.version ?? 0;
    if (there && isSame(there.sections, mine)) told = changes;
    return;
  }
  const dialog = document.getElementById("differs-dialog");
  dialog.querySelector("[data-who]").textContent = there.by ? `${there.by}, ${there.at}` : there.at;
  dialog.querySelector("[data-mine]").innerText = plain(mine);
  dialog.querySelector("[data-theirs]").innerText = plain(there.sections);
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (!dialog.returnValue) dialog.returnValue = "mine";
  version = there.version;
  if (dialog.returnValue === "theirs") {
    show(there.sections);
    told = changes;
    forgetHere();
    say(words.saved, "done");
  } else {
    show(mine);
    changes += 1;
  }
}
const plain = (sections) =>
  [...editors.keys()]
    .filter((name) => textOf(sections[name]))
    .map((name) => `${root.querySelector(`[data-section="${name}"] h3`).textContent}\n${lines(sections[name])}`)
    .join("\n\n");
const lines = (markup) => {
  fragment.innerHTML = markup.replaceAll(/<\/(p|li)>|<br>/g, "\n");
  return fragment.content.textContent.replaceAll(/\n{2,}/g, "\n").trim();
};

// Two windows of one person: the newer one goes on, with all that was typed in the older.
const windows = new BroadcastChannel(`sinar report ${state.procedure}`);
const self = crypto.randomUUID();
windows.addEventListener("message", async ({ data }) => {
  if (data.opened && data.user === state.user && !stopped) {
    while (told !== changes && !failures) await (send() ?? new Promise((resolve) => setTimeout(resolve, 50)));
    windows.postMessage({ handed: data.opened, version, sections: current(), isDraft });
    stop(words.elsewhere);
    const back = Object.assign(document.createElement("a"), { href: location.pathname, textContent: words.goOnHere });
    savedLine.append(" ", back);
  } else if (data.handed === self && changes === told) {
    ({ version, isDraft } = data);
    show(data.sections);
    showDiscard();
  }
});

/* Editors */

const BLANK = /\[[^[\]]*\]/g;
function blanks(editor) {
  const found = [];
  editor.state.doc.descendants((node, at) => {
    if (node.isText) for (const each of node.text.matchAll(BLANK)) found.push([at + each.index, at + each.index + each[0].length]);
  });
  return found;
}
// At once: the editor's own way waits for the next picture, and what is typed meanwhile would go elsewhere.
function go(editor, selection) {
  editor.chain().setTextSelection(selection).scrollIntoView().run();
  editor.view.focus();
  return true;
}
function toNextBlank(from) {
  const every = [...editors.values()];
  const start = every.indexOf(from);
  for (const editor of [...every.slice(start), ...every.slice(0, start)]) {
    const after = editor === from ? editor.state.selection.to : 0;
    const next = blanks(editor).find(([begin]) => begin >= after);
    if (next) return go(editor, { from: next[0], to: next[1] });
  }
  return false;
}
function toSection(from, step) {
  const every = [...editors.values()];
  const next = every[every.indexOf(from) + step];
  return Boolean(next) && go(next, step > 0 ? 0 : next.state.doc.content.size);
}
function pressed(name, event) {
  const editor = editors.get(name);
  if (event.altKey && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    toSection(editor, event.key === "ArrowDown" ? 1 : -1);
    return true;
  }
  if (event.key === "Tab" && !event.altKey && !event.ctrlKey) {
    if (event.shiftKey) return editor.isActive("listItem") ? false : toSection(editor, -1);
    return toNextBlank(editor) || (editor.isActive("listItem") ? false : toSection(editor, 1));
  }
  return false;
}

for (const place of root.querySelectorAll("[data-editor]")) {
  const name = place.closest("[data-section]").dataset.section;
  const editor = new Editor({
    element: place,
    injectCSS: false,
    editable: !state.readOnly,
    content: state.sections[name] ?? "",
    extensions: [
      StarterKit.configure({
        blockquote: false, code: false, codeBlock: false, heading: false, horizontalRule: false, strike: false, trailingNode: false,
        link: { openOnClick: false, autolink: false, linkOnPaste: false, isAllowedUri: (address) => address.startsWith("/viewer?"), HTMLAttributes: { target: null, rel: null } },
      }),
    ],
    editorProps: {
      attributes: { role: "textbox", "aria-multiline": "true", "aria-labelledby": `label-${name}`, spellcheck: "true" },
      handleKeyDown: (_, event) => pressed(name, event),
    },
    onUpdate: typed,
    onFocus: () => (window.reading.last = editor),
  });
  editors.set(name, editor);
}

const MARKS = { bold: "toggleBold", italic: "toggleItalic", bulletList: "toggleBulletList", orderedList: "toggleOrderedList" };
root.addEventListener("click", (event) => {
  const mark = event.target.closest("[data-mark]");
  if (mark) window.reading.last.chain().focus()[MARKS[mark.dataset.mark]]().run();
});
// A button of the bar leaves the focus, and with it the selection, in the text.
root.querySelector(".toolbar").addEventListener("mousedown", (event) => event.preventDefault());

discardButton.addEventListener("click", async () => {
  const dialog = document.getElementById("discard-dialog");
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "discard") return;
  await window.reading.flush();
  const response = await ask("DELETE", root.dataset.draft, { version });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) return say(answer.message ?? words.notSaved, "urgent");
  forgetHere();
  stopped = true;
  location.replace("/reading");
  return null;
});

window.reading = {
  root,
  state,
  words,
  editors,
  last: editors.get("findings"),
  ask,
  go,
  say,
  current,
  textOf,
  get version() {
    return version;
  },
  get stopped() {
    return stopped;
  },
  /** A change that is not typed, at the version that holds then: what is typed meanwhile is sent after it. Gives what
   * was answered (`status`, `body`), or null without a connection. */
  async change(address, body) {
    while (sending) await sending;
    if (stopped) return null;
    let answer = null;
    sending = ask("PUT", address, { version, ...body }).then(async (response) => {
      answer = { status: response.status, body: await response.json().catch(() => ({})) };
      if (response.ok) {
        ({ version } = answer.body);
        [failures, isDraft] = [0, true];
        showDiscard();
      } else if (response.status === 412) {
        await differs(answer.body.there);
      }
    }, lost);
    await sending;
    sending = null;
    if (told !== changes && !stopped) plan(SEND_EVERY);
    return answer;
  },
  /** Once nothing is on its way any more: true when the server has all that was typed. */
  async flush() {
    for (let tries = 0; tries < 20 && told !== changes && !stopped; tries += 1) {
      await send();
      if (sending) await sending;
      if (failures) break;
    }
    return told === changes;
  },
  /** The report went out as it stands: nothing of it has to be kept here. */
  done() {
    stopped = true;
    forgetHere();
  },
};

/* What was typed last time and did not arrive */

{
  const kept = JSON.parse(localStorage.getItem(KEPT) ?? "null");
  if (kept && isWithin(kept.sections, state.sections)) forgetHere();
  else if (kept && !stopped) {
    // A page that was made before this browser's last answer knows less than what is kept: the server will tell.
    if (kept.version >= state.version || (kept.sent && isSame(kept.sent, state.sections))) {
      version = Math.max(version, kept.version);
      show(kept.sections);
      changes += 1;
      say(words.restored, "waiting");
      plan(0);
    } else {
      differs({ ...state }, kept.sections).then(() => plan(0));
    }
  }
}

document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && send());
window.addEventListener("pagehide", () => send());
window.addEventListener("online", () => send());
window.addEventListener("beforeunload", (event) => {
  if (told !== changes && !stopped && failures) event.preventDefault();
});

showDiscard();
if (!stopped) {
  windows.postMessage({ opened: self, user: state.user });
  if (isDraft) say(words.draftOf.replace("%s", `${state.by} ${state.at}`));
  const first = editors.get(textOf(editors.get("findings").getHTML()) ? "impression" : "findings");
  go(first, first.state.doc.content.size);
}
