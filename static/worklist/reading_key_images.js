// Key images: the image that is shown becomes one with a key; in a strip below the text they get captions and an order.
// They go to the server like what is typed, at the same version, and are there before the report is signed.

const { root, state, words } = window.reading;
const strip = root.querySelector("[data-key-images]");
const texts = strip.dataset;
const list = strip.querySelector("ol");
const pattern = strip.querySelector("template");
const undoButton = strip.querySelector("[data-undo-button]");
const counter = root.querySelector("[data-count-key-images]");
const frame = root.querySelector("iframe[name=images]");
const channel = new BroadcastChannel("sinar second screen");
const MOST = 20;
const CAPTION_EVERY = 400;
const AGAIN = 2000;

let kept = state.keyImages; // as the server has them
let images = structuredClone(kept);
let changes = 0;
let told = 0;
let timer = 0;
let saving = null;
let undo = null;
let isWaiting = false; // the server did not answer

const isSame = (one, other) => one.instance === other.instance && (one.frame ?? 1) === (other.frame ?? 1) && one.inverted === other.inverted && isSameWindow(one.window, other.window);
const near = (one, other) => Number(one).toPrecision(6) === Number(other).toPrecision(6);
const isSameWindow = (one, other) => (one && other ? near(one.center, other.center) && near(one.width, other.width) : !one && !other);
const tell = (text, number = "") => (strip.querySelector("[data-told]").textContent = text.replace("{n}", number));
// The strip may be out of sight: what is chosen is said at the foot too.
function say(text, number = "") {
  tell(text, number);
  window.reading.say(text.replace("{n}", number));
}

/* Keeping */

function changed(after = 0) {
  changes += 1;
  clearTimeout(timer);
  timer = setTimeout(save, after);
}
function save() {
  clearTimeout(timer);
  saving ??= send().finally(() => (saving = null));
  return saving;
}
async function send() {
  while (told !== changes && !window.reading.stopped) {
    const upTo = changes;
    const body = images.map(({ id, instance, frame: number, window: shown, inverted, caption }) => ({ id, instance, frame: number, window: shown, inverted, caption }));
    const answer = await window.reading.change(texts.address, { images: body });
    if (!answer || answer.status >= 500 || answer.status === 401 || (answer.status === 403 && !answer.body.message)) {
      say(answer?.status === 401 ? words.signedOut : texts.notSaved);
      timer = setTimeout(save, AGAIN);
      isWaiting = true;
      return;
    }
    if (isWaiting) tell("");
    if (isWaiting) window.reading.say(words.saved, "done");
    isWaiting = false;
    if (answer.status === 200) {
      kept = answer.body.keyImages;
      told = upTo;
      for (const image of images) {
        const there = kept.find((each) => isSame(each, image));
        if (there && !image.id) items.set(there.id, items.get(image));
        Object.assign(image, { ...there, caption: image.caption });
      }
    } else {
      if (answer.status === 412) kept = answer.body.there?.keyImages ?? [];
      images = structuredClone(kept);
      told = changes;
      say(answer.status === 412 ? texts.changed : answer.body.message ?? words.notSaved);
    }
    show();
  }
}
const flush = window.reading.flush;
window.reading.flush = async () => {
  await save();
  return (await flush()) && told === changes;
};
window.addEventListener("online", () => told !== changes && save());
window.addEventListener("pagehide", () => told !== changes && save());
window.addEventListener("beforeunload", (event) => {
  if (isWaiting && told !== changes && !window.reading.stopped) event.preventDefault();
});

/* Choosing */

function add(shown) {
  if (window.reading.stopped) return;
  strip.hidden = false;
  if (!shown) return say(texts.none);
  const there = images.findIndex((each) => isSame(each, shown));
  if (there >= 0) return say(texts.already, there + 1);
  if (images.length >= MOST) return say(texts.most);
  images = [...images, { ...shown, caption: "", place: "", shown: "" }];
  say(texts.chosen, images.length);
  show();
  return changed();
}
function mark() {
  if (root.classList.contains("alone")) channel.postMessage({ capture: true });
  else add(frame ? window.shownImage(frame) : null);
}
channel.addEventListener("message", ({ data }) => "captured" in data && add(data.captured));
root.querySelector('[data-do="key-image"]').addEventListener("click", mark);
document.addEventListener("keydown", (event) => {
  if (!window.isMarkKey(event) || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  mark();
}, true);
if (frame) window.onMarkKey(frame, mark);

/* The strip */

const indexOf = (element) => [...list.children].indexOf(element.closest("li"));
function show() {
  const made = images.map(item);
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  if (made.length !== list.children.length || made.some((each, index) => each !== list.children[index])) {
    list.replaceChildren(...made);
    focused?.focus();
  }
  counter.textContent = images.length || "";
  strip.hidden = images.length === 0 && strip.querySelector("[data-told]").textContent === "";
}
function item(image, index) {
  const made = items.get(image.id ?? image) ?? pattern.content.firstElementChild.cloneNode(true);
  items.set(image.id ?? image, made);
  const [picture, caption] = [made.querySelector(".picture"), made.querySelector("input")];
  const number = index + 1;
  made.classList.toggle("gone", Boolean(image.isGone));
  picture.ariaLabel = `${texts.image.replace("{n}", number)} ${image.place}`;
  picture.disabled = Boolean(image.isGone);
  made.querySelector(".number").textContent = number;
  const source = image.picture && !image.isGone ? `${image.picture}?small` : "";
  const drawn = picture.querySelector("img");
  if (source && drawn.getAttribute("src") !== source) drawn.src = source;
  made.querySelector(".place").textContent = image.isGone ? texts.gone : [image.place, image.shown].filter(Boolean).join(" · ");
  if (caption !== document.activeElement) caption.value = image.caption;
  caption.ariaLabel = texts.caption.replace("{n}", number);
  for (const [button, name] of [['[data-move="-1"]', texts.earlier], ['[data-move="1"]', texts.later], ["[data-take-out]", texts.out]]) {
    Object.assign(made.querySelector(button), { ariaLabel: `${name}: ${texts.image.replace("{n}", number)}`, title: name });
  }
  made.querySelector('[data-move="-1"]').disabled = index === 0 || window.reading.stopped;
  made.querySelector('[data-move="1"]').disabled = number === images.length || window.reading.stopped;
  made.querySelector("[data-take-out]").disabled = caption.disabled = window.reading.stopped;
  return made;
}
const items = new Map();

function move(from, to) {
  if (window.reading.stopped || to < 0 || to >= images.length || from === to) return;
  const [moved] = images.splice(from, 1);
  images.splice(to, 0, moved);
  tell(texts.moved, to + 1);
  show();
  changed();
}
function takeOut(index) {
  if (window.reading.stopped) return;
  undo = { image: images[index], index };
  images = images.filter((_, each) => each !== index);
  undoButton.hidden = Boolean(undo.image.isGone);
  tell(texts.takenOut, index + 1);
  show();
  if (images.length) list.children[Math.min(index, images.length - 1)].querySelector(".picture, input").focus();
  else if (!undoButton.hidden) undoButton.focus();
  changed();
}
undoButton.addEventListener("click", () => {
  undoButton.hidden = true;
  if (images.length >= MOST || images.some((each) => isSame(each, undo.image))) return;
  images = images.toSpliced(undo.index, 0, { ...undo.image, id: undefined });
  say(texts.chosen, undo.index + 1);
  show();
  list.children[undo.index]?.querySelector(".picture").focus();
  changed();
});
function open(image) {
  if (image.isGone) return;
  if (root.classList.contains("alone")) channel.postMessage({ recall: image });
  else if (frame) window.showImage(frame, image, (address) => (frame.src = address));
}

list.addEventListener("click", (event) => {
  const index = indexOf(event.target);
  if (event.target.closest(".picture")) open(images[index]);
  else if (event.target.closest("[data-take-out]")) takeOut(index);
  else if (event.target.closest("[data-move]")) move(index, index + Number(event.target.closest("[data-move]").dataset.move));
});
list.addEventListener("input", (event) => {
  images[indexOf(event.target)].caption = event.target.value;
  changed(CAPTION_EVERY);
});
list.addEventListener("keydown", (event) => {
  const picture = event.target.closest(".picture");
  if (!picture || event.altKey || event.ctrlKey || event.metaKey) return;
  const index = indexOf(picture);
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  if (step && event.shiftKey) {
    move(index, index + step);
    list.children[Math.max(0, Math.min(index + step, images.length - 1))].querySelector(".picture").focus();
  } else if (step) list.children[index + step]?.querySelector(".picture").focus();
  else if (event.key === "Delete" || event.key === "Backspace") takeOut(index);
  else return;
  event.preventDefault();
});

let dragged = -1;
list.addEventListener("dragstart", (event) => {
  dragged = event.target.closest("input") ? -1 : indexOf(event.target);
  event.dataTransfer.effectAllowed = "move";
});
list.addEventListener("dragover", (event) => {
  if (dragged < 0) return;
  event.preventDefault();
  for (const each of list.children) each.classList.toggle("over", each === event.target.closest("li"));
});
for (const end of ["drop", "dragend"]) {
  list.addEventListener(end, (event) => {
    const to = event.target.closest("li") ? indexOf(event.target) : -1;
    for (const each of list.children) each.classList.remove("over");
    if (end === "drop" && dragged >= 0) {
      event.preventDefault();
      move(dragged, to < 0 ? images.length - 1 : to);
    }
    dragged = -1;
  });
}

show();
