// Dictation, where the browser recognises speech: what is final goes into the text, where one stands.

const { root, words, state } = window.reading;
const Recognition = window.SpeechRecognition ?? window.webkitSpeechRecognition;
const button = root.querySelector('[data-do="dictate"]');
let recognition = null;

// What is said for signs; the rest is text.
const SIGNS = { id: { titik: ".", koma: ",", "titik dua": ":", "tanda tanya": "?" }, en: { period: ".", "full stop": ".", comma: ",", colon: ":", "question mark": "?" } };
const LINES = { id: ["baris baru", "paragraf baru"], en: ["new line", "new paragraph"] };
const language = document.documentElement.lang.startsWith("id") ? "id" : "en";

function said(text) {
  const editor = window.reading.last;
  let rest = text.trim();
  for (const [word, sign] of Object.entries(SIGNS[language])) rest = rest.replaceAll(new RegExp(`\\s*\\b${word}\\b`, "gi"), sign);
  const lines = rest.split(new RegExp(`\\s*\\b(?:${LINES[language].join("|")})\\b\\s*`, "i"));
  lines.forEach((line, number) => {
    if (number) editor.commands.splitBlock();
    const { $from } = editor.state.selection;
    const before = $from.parent.textBetween(0, $from.parentOffset);
    const begins = !before || /[.?:]\s*$/.test(before);
    const spaced = before && !/\s$/.test(before) && !/^[.,:?]/.test(line) ? " " : "";
    if (line) editor.commands.insertContent({ type: "text", text: spaced + (begins ? line[0].toUpperCase() + line.slice(1) : line) });
  });
}

function toggle() {
  if (recognition) {
    recognition.stop();
    return;
  }
  if (window.reading.stopped) return;
  recognition = new Recognition();
  recognition.lang = language === "id" ? "id-ID" : "en-US";
  recognition.continuous = true;
  recognition.addEventListener("result", (event) => {
    for (let at = event.resultIndex; at < event.results.length; at += 1) {
      if (event.results[at].isFinal) said(event.results[at][0].transcript);
    }
  });
  recognition.addEventListener("error", () => window.reading.say(words.notHeard, "urgent"));
  recognition.addEventListener("end", () => {
    recognition = null;
    button.setAttribute("aria-pressed", "false");
  });
  recognition.start();
  button.setAttribute("aria-pressed", "true");
}

if (Recognition && !state.readOnly) {
  button.hidden = false;
  button.addEventListener("click", toggle);
  document.addEventListener("keydown", (event) => {
    if (!event.altKey || event.ctrlKey || event.metaKey || event.code !== "KeyD") return;
    event.preventDefault();
    toggle();
  });
}
