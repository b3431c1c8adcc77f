// The images beside the text, or on a second screen that is kept in step; measurements flow from them into the text.

const { root, words, state } = window.reading;
const frame = root.querySelector("iframe[name=images]");
const SECOND = "sinar second screen";
const channel = new BroadcastChannel(SECOND);
let measurements = [];

/* One screen or two */

const isOpen = () => localStorage.getItem(SECOND) !== null;
let asked = 0;
function place() {
  if (!frame) return;
  if (isOpen()) {
    channel.postMessage({ show: frame.dataset.viewer, study: state.study });
    asked = setTimeout(together, 700); // nobody answers: that window is gone
  } else {
    together();
  }
}
function together() {
  clearTimeout(asked);
  localStorage.removeItem(SECOND);
  root.classList.remove("alone");
  if (frame && !frame.src) frame.src = frame.dataset.viewer;
}
channel.addEventListener("message", ({ data }) => {
  if (data.shown) {
    clearTimeout(asked);
    root.classList.add("alone");
    frame?.removeAttribute("src");
  } else if (data.opened) {
    channel.postMessage({ show: frame?.dataset.viewer ?? "", study: state.study });
  } else if (data.closed) {
    together();
  } else if (data.measurements) {
    measured(data.measurements);
  } else if (data.chosen && data.chosen !== state.study) {
    window.reading.flush().then(() => location.assign(`/reading/of?study=${encodeURIComponent(data.chosen)}`));
  }
});
const openSecond = () => window.open("/reading/screen", SECOND, "popup,width=1200,height=900");
root.querySelector('[data-do="screen"]').addEventListener("click", openSecond);

for (const link of root.querySelectorAll('.priors a[target="images"]')) {
  link.addEventListener("click", (event) => {
    if (!root.classList.contains("alone")) return;
    event.preventDefault();
    channel.postMessage({ show: link.getAttribute("href"), study: "" });
  });
}

/* Width */

const sash = root.querySelector(".sash");
const WIDTH = "sinar report width";
const widen = (pixels) => {
  const width = Math.round(Math.max(360, Math.min(window.innerWidth * 0.7, pixels)));
  root.style.setProperty("--side", `${width}px`);
  localStorage.setItem(WIDTH, width);
};
if (localStorage.getItem(WIDTH)) widen(Number(localStorage.getItem(WIDTH)));
sash.addEventListener("pointerdown", (event) => {
  sash.setPointerCapture(event.pointerId);
  root.classList.add("sizing");
});
sash.addEventListener("pointermove", (event) => root.classList.contains("sizing") && widen(window.innerWidth - event.clientX));
sash.addEventListener("pointerup", () => root.classList.remove("sizing"));
sash.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: 40, ArrowRight: -40 }[event.key];
  if (step) widen(root.querySelector(".side").offsetWidth + step);
});

/* Measurements */

const dialog = document.getElementById("measurement-dialog");
const list = dialog.querySelector(".choices");
function measured(found) {
  measurements = found;
  root.querySelector("[data-count]").textContent = found.length || "";
  dialog.querySelector("[data-none]").hidden = found.length > 0;
  list.replaceChildren(
    ...found.map((each) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: each.text });
      button.addEventListener("click", () => {
        dialog.close();
        insert(each);
      });
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}
function insert(each) {
  const editor = window.reading.last;
  if (window.reading.stopped) return;
  const link = { type: "text", text: each.text, marks: [{ type: "link", attrs: { href: each.address } }] };
  // The words after it are no part of the link.
  editor.chain().focus().insertContent([link, { type: "text", text: " " }]).unsetMark("link").run();
}
root.querySelector('[data-do="measurement"]').addEventListener("click", () => dialog.showModal());
if (frame) window.watchMeasurements(frame, (found) => root.classList.contains("alone") || measured(found));

// A measurement in the text leads back to its image.
root.addEventListener("click", (event) => {
  const link = event.target.closest('.text a[href^="/viewer?"]');
  if (!link) return;
  event.preventDefault();
  const [address] = link.getAttribute("href").split("#");
  if (root.classList.contains("alone")) channel.postMessage({ show: address, study: "" });
  else if (frame) frame.src = address;
});

document.addEventListener("keydown", (event) => {
  if (!event.altKey || event.ctrlKey || event.metaKey) return;
  const key = event.code;
  if (key === "KeyM") {
    event.preventDefault();
    if (measurements.length) insert(measurements.at(-1));
    else window.reading.say(words.nothingMeasured);
  } else if (key === "KeyW") {
    event.preventDefault();
    openSecond();
  }
});

place();
