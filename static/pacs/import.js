// Sends dropped or chosen files one by one, a few at a time. Files are handles: their bytes are read as they are
// sent, and folders are walked as they are needed, so that a whole disk takes no memory.

const AT_ONCE = 3;
const AHEAD = 64; // entries of a folder that are looked at before they are sent
const LISTED = 200;

const root = document.getElementById("upload");
const drop = document.getElementById("drop");
const rows = document.getElementById("rows");
const words = document.getElementById("words").content;
const word = (name, values = {}) =>
  words.querySelector(`[data-word="${name}"]`).textContent.replace(/%(\w+)%/g, (_, key) => values[key] ?? "");
const token = root.querySelector("[name=csrfmiddlewaretoken]").value;

let visit = fresh();

function fresh() {
  return {
    run: null, sources: [], failed: [], requests: new Set(), wake: () => {}, active: 0, walking: false, stopped: false,
    total: 0, done: 0, sent: 0, hidden: 0, passedOver: 0,
    counts: { stored: 0, unchanged: 0, held: 0, skipped: 0, refused: 0, failed: 0 },
  };
}

/* What was dropped or chosen, as a stream of { path, file() } */

async function* ofEntry(entry, path = "") {
  const name = path + entry.name;
  if (entry.isFile) {
    yield { path: name, file: () => new Promise((resolve, reject) => entry.file(resolve, reject)) };
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const each of some) yield* ofEntry(each, `${name}/`);
  }
}

async function* ofEntries(entries) {
  for (const entry of entries) yield* ofEntry(entry);
}

async function* ofFiles(files) {
  for (const file of files) yield { path: file.webkitRelativePath || file.name, file: async () => file };
}

/* DICOM, a ZIP, or what may be a bare data set; the server looks more closely. */

async function mayBeDicom(file) {
  const head = new Uint8Array(await file.slice(0, 132).arrayBuffer());
  const text = (from, to) => String.fromCharCode(...head.slice(from, to));
  if (text(128, 132) === "DICM" || text(0, 4) === "PK\x03\x04") return true;
  return (head[0] === 8 && head[1] === 0) || (head[0] === 2 && head[1] === 0) || (head[0] === 0 && head[1] === 8);
}

/* Rows: what goes on, what went wrong, and the last ones that went well. */

function row(item) {
  if (item.row) return item.row;
  const line = document.createElement("li");
  for (const part of ["name", "state", "why"]) {
    const span = document.createElement("span");
    span.className = part;
    line.append(span);
  }
  line.querySelector(".name").textContent = item.path;
  rows.insertBefore(line, rows.querySelector("li:not([data-bad])"));
  if (rows.children.length > LISTED) {
    const last = [...rows.children].findLast((each) => each.dataset.well) ?? rows.lastElementChild;
    last.remove();
    visit.hidden += 1;
  }
  item.row = line;
  return line;
}

const MEANING = { stored: "done", unchanged: "done", held: "waiting", refused: "urgent", failed: "urgent" };

function tell(item, fate, why = "", percent = null) {
  const line = row(item);
  line.querySelector(".state").textContent = word(fate) + (percent === null ? "" : ` ${percent} %`);
  line.querySelector(".state").className = `state ${MEANING[fate] ?? ""}`;
  line.querySelector(".why").textContent = why;
  delete line.dataset.bad;
  if (["held", "refused", "failed"].includes(fate)) {
    line.dataset.bad = "1";
    rows.prepend(line);
  }
  if (["stored", "unchanged", "skipped"].includes(fate)) line.dataset.well = "1";
}

const size = (bytes) => {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit += 1; }
  return `${bytes.toFixed(unit ? 1 : 0)} ${units[unit]}`;
};

let painting = false;
function paint() {
  if (painting) return;
  painting = true;
  setTimeout(() => {
    painting = false;
    const busy = visit.active > 0 || visit.walking;
    const summary = visit.stopped
      ? word("stopped")
      : busy
        ? visit.total ? word("progress", { done: visit.done, total: visit.total, size: size(visit.sent) }) : word("reading")
        : word("finished", visit.counts);
    document.getElementById("summary").textContent = summary;
    document.getElementById("all").max = Math.max(1, visit.total);
    document.getElementById("all").value = visit.done;
    document.getElementById("stop").hidden = !busy || visit.stopped;
    document.getElementById("retry").hidden = busy || !visit.failed.length;
    const notShown = document.getElementById("not-shown");
    notShown.hidden = !visit.hidden;
    notShown.textContent = word("hidden", { count: visit.hidden });
    root.toggleAttribute("data-busy", busy);
  }, 200);
}

/* The server */

function post(mine, address, { body = null, headers = {}, onProgress = null, onSent = null } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    mine.requests.add(request);
    request.open("POST", address);
    request.setRequestHeader("X-CSRFToken", token);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (onProgress) request.upload.onprogress = onProgress;
    if (onSent) request.upload.onload = onSent;
    request.onloadend = () => {
      mine.requests.delete(request);
      let answer = null;
      try { answer = JSON.parse(request.responseText); } catch { /* no answer of ours */ }
      if (request.status >= 200 && request.status < 300 && answer) resolve(answer);
      else if (request.status === 401 || request.status === 403) reject(new Error(answer?.detail || root.dataset.signedOut));
      else reject(new Error(answer?.detail || root.dataset.noConnection));
    };
    request.send(body);
  });
}

function beginRun(mine) {
  mine.run ??= post(mine, root.dataset.start).then((answer) => {
    const link = document.querySelector("#whole-report a");
    link.href = `${location.pathname}/${answer.id}`;
    document.getElementById("whole-report").hidden = false;
    return `${root.dataset.start}/${answer.id}`;
  });
  mine.run.catch(() => { mine.run = null; });
  return mine.run;
}

// A header is short and knows no halves of characters.
const nameOf = (item) => encodeURIComponent(item.path.slice(-500).replace(/\p{Surrogate}/gu, "\ufffd"));

async function send(mine, item) {
  try {
    const file = await item.file();
    if (!(await mayBeDicom(file))) {
      tell(item, "skipped");
      mine.counts.skipped += 1;
      mine.passedOver += 1;
      return;
    }
    const run = await beginRun(mine);
    if (mine.stopped) return;
    let told = 0;
    tell(item, "sending", "", 0);
    const answer = await post(mine, `${run}/files`, {
      body: file,
      headers: { "Content-Type": "application/octet-stream", "X-File-Name": nameOf(item) },
      onProgress: (event) => {
        mine.sent += event.loaded - told;
        told = event.loaded;
        tell(item, "sending", "", Math.floor((100 * event.loaded) / Math.max(1, event.total)));
        paint();
      },
      onSent: () => tell(item, "unpacking"),
    });
    for (const fate of ["stored", "unchanged", "held", "skipped", "refused"]) mine.counts[fate] += answer[fate];
    const fate = ["refused", "held", "stored", "unchanged", "skipped"].find((each) => answer[each]) ?? "skipped";
    const problems = answer.problems.map((each) => (each.name === item.path ? each.reason : `${each.name}: ${each.reason}`));
    tell(item, fate, problems.join("\n"));
  } catch (error) {
    if (mine.stopped) return;
    tell(item, "failed", error.message);
    mine.counts.failed += 1;
    mine.failed.push(item);
  } finally {
    mine.done += 1;
    paint();
  }
}

/* The queue: folders are walked a little ahead of what is sent. */

async function add(source) {
  if (visit.stopped || (!visit.active && !visit.walking && visit.done)) {
    end(visit);
    visit = fresh();
    rows.replaceChildren();
    document.getElementById("whole-report").hidden = true;
  }
  document.getElementById("sending").hidden = false;
  visit.sources.push(source);
  visit.wake();
  if (!visit.walking) await work();
}

async function work() {
  const mine = visit;
  mine.walking = true;
  paint();
  const waiting = [];
  const pump = () => {
    while (mine.active < AT_ONCE && waiting.length && !mine.stopped) {
      const item = waiting.shift();
      mine.active += 1;
      send(mine, item).finally(() => { mine.active -= 1; pump(); mine.wake(); });
    }
  };
  const pause = () => new Promise((resolve) => { mine.wake = resolve; });
  do {
    while (mine.sources.length && !mine.stopped) {
      try {
        for await (const item of mine.sources[0]) {
          if (mine.stopped) break;
          mine.total += 1;
          waiting.push(item);
          pump();
          paint();
          while (waiting.length >= AHEAD && !mine.stopped) await pause();
        }
      } catch (error) {
        const item = { path: "", file: async () => { throw error; } };
        tell(item, "failed", error.message);
        mine.counts.failed += 1;
      }
      mine.sources.shift();
    }
    while ((waiting.length || mine.active) && !mine.sources.length && !mine.stopped) await pause();
  } while (mine.sources.length && !mine.stopped);
  mine.walking = false;
  if (mine.run && !mine.failed.length) end(mine);
  paint();
}

function end(mine) {
  const body = new URLSearchParams({ skipped: mine.passedOver });
  mine.run?.then((run) => post(mine, `${run}/end`, { body })).catch(() => {});
  mine.run = null;
}

document.getElementById("stop").addEventListener("click", () => {
  visit.stopped = true;
  visit.wake();
  for (const request of visit.requests) request.abort();
  end(visit);
  visit.walking = false;
  paint();
});

document.getElementById("retry").addEventListener("click", () => {
  const again = visit.failed.splice(0);
  visit.counts.failed -= again.length;
  visit.done -= again.length;
  visit.total -= again.length;
  visit.sources.push((async function* retried() { yield* again; })());
  work();
});

/* Where files come from */

for (const id of ["files", "folder"]) {
  const field = document.getElementById(id);
  field.addEventListener("change", () => {
    const files = [...field.files];
    field.value = "";
    if (files.length) add(ofFiles(files));
  });
}

const over = (yes) => drop.classList.toggle("over", yes);
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    over(true);
  });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) over(false); });
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  over(false);
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length) add(ofEntries(entries));
  else if (event.dataTransfer.files.length) add(ofFiles([...event.dataTransfer.files]));
});

window.addEventListener("beforeunload", (event) => {
  if (root.hasAttribute("data-busy")) event.preventDefault();
});
