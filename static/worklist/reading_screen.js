// The window of the images alone. What is opened in the report's window is shown here; a study that is opened here is
// opened there.

const SECOND = "sinar second screen";
const channel = new BroadcastChannel(SECOND);
const frame = document.querySelector("iframe");
const EVERY = 500;
let shown = "";
let studies = new Set();

const inFrame = () => {
  try {
    return new URLSearchParams(frame.contentWindow.location.search).get("StudyInstanceUIDs")?.split(",") ?? [];
  } catch {
    return [];
  }
};

channel.addEventListener("message", ({ data }) => {
  if (!("show" in data)) return;
  const wanted = new URL(data.show || "/", location.href).searchParams.get("StudyInstanceUIDs")?.split(",") ?? [];
  if (data.study) studies = new Set(wanted);
  else for (const uid of wanted) studies.add(uid);
  document.querySelector("[data-waits]").hidden = Boolean(data.show);
  frame.hidden = !data.show;
  if (data.show && data.show !== shown) frame.src = data.show;
  shown = data.show;
  channel.postMessage({ shown: true });
});

window.watchMeasurements(frame, (measurements) => channel.postMessage({ measurements }));
setInterval(() => {
  const other = inFrame().find((uid) => studies.size && !studies.has(uid));
  if (!other) return;
  studies.add(other);
  channel.postMessage({ chosen: other });
}, EVERY);

localStorage.setItem(SECOND, "1");
channel.postMessage({ opened: true });
window.addEventListener("pagehide", () => {
  localStorage.removeItem(SECOND);
  channel.postMessage({ closed: true });
});
