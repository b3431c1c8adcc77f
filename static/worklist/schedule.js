// The calendar: rooms as columns. The list that the server renders stays the truth and the way without a mouse;
// this draws it as a calendar on wide screens, lets examinations be dragged, and says before the drop what is in
// the way. The live part (#schedule) brings new data; only what changed is drawn anew, never during a drag.

const layout = document.querySelector(".schedule-layout");
const place = document.getElementById("calendar");
const hint = document.getElementById("schedule-hint");
const wide = window.matchMedia("(min-width: 62rem)");
const STEP = 5 * 60_000;
let calendar = null;
let data = { rooms: [], shaded: [], steps: [] };
let dragging = false;
let stale = false;

const read = () => JSON.parse(document.getElementById("schedule").dataset.bookings);
const two = (number) => String(number).padStart(2, "0");
const wall = (date) =>
  `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${two(date.getHours())}:${two(date.getMinutes())}`;
const clock = (text) => text.slice(11, 16);

/* What is drawn */

function eventOf(step) {
  const classes = ["step", `is-${step.status.toLowerCase().replace(" ", "-")}`];
  if (step.late) classes.push("is-late");
  if (step.urgent) classes.push("is-urgent");
  if (!step.takes) classes.push("is-over");
  return {
    id: step.id,
    resourceIds: [step.room],
    start: step.start,
    end: step.end,
    title: step.title,
    editable: step.movable,
    startEditable: step.movable,
    durationEditable: step.movable,
    classNames: classes,
    extendedProps: { step },
  };
}

const shadeOf = (each) => ({
  id: each.id,
  resourceIds: [each.room],
  start: each.start,
  end: each.end,
  title: each.title,
  display: "background",
  classNames: [`is-${each.kind}`],
  extendedProps: { shade: each },
});

const drawn = () => [...data.shaded.map(shadeOf), ...data.steps.map(eventOf)];

function line(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

function contentOf({ event }) {
  const { step, shade } = event.extendedProps;
  if (shade) return shade.kind === "block" ? { domNodes: [line("shade-title", shade.title)] } : "";
  if (!step) return undefined;
  const link = document.createElement("a");
  link.href = step.open;
  link.className = "step-link";
  link.dataset.step = step.id;
  link.draggable = false;
  // The shortest examination has room for one line: what tells it from the others comes first.
  const marks = [step.urgent && `⚠ ${step.urgent}`, step.status !== "SCHEDULED" && step.state].filter(Boolean);
  const range = `${clock(wall(event.start))}–${clock(wall(event.end))}`;
  link.append(line("step-patient", step.patient), " ", line("step-time", range), " ");
  if (marks.length) link.append(line("step-state", marks.join(" · ")), " ");
  link.append(line("step-title", step.title));
  link.title = [range, step.patient, ...marks, step.title].join(" · ");
  return { domNodes: [link] };
}

/* What is in the way of an examination at a place */

function obstacle({ id, modality, room, start, end }) {
  const say = (template, text) => layout.dataset[template].replace("{}", text);
  const known = data.rooms.find((each) => each.id === room);
  if (known?.modalities.length && !known.modalities.includes(modality)) return say("misfit", modality);
  const touching = (each) => each.room === room && each.start < end && each.end > start;
  const step = data.steps.find((each) => each.id !== id && each.takes && touching(each));
  if (step) return say("taken", `${clock(step.start)}–${clock(step.end)} ${step.title}`);
  const shade = data.shaded.find(touching);
  if (shade) return say("shut", shade.title);
  const mine = data.steps.find((each) => each.id === id);
  return start < data.now && mine?.start !== start ? layout.dataset.past : "";
}

function warn(text) {
  if (hint.textContent !== text) hint.textContent = text;
  hint.hidden = !text;
  place.classList.toggle("is-refused", Boolean(text));
}

function look(info) {
  const { event } = info;
  const room = (info.newResource ?? info.resource)?.id ?? event.resourceIds[0];
  const step = event.extendedProps.step;
  warn(obstacle({ id: step.id, modality: step.modality, room: String(room), start: wall(event.start), end: wall(event.end) }));
  return true;
}

/* What is done */

function send(address, values) {
  const csrf = document.querySelector("#schedule [name=csrfmiddlewaretoken]")?.value ?? cookie("csrftoken");
  return window.htmx
    .ajax("POST", address, { swap: "none", target: "#notices", values: { ...values, csrfmiddlewaretoken: csrf } })
    .then(renew);
}

const cookie = (name) => document.cookie.match(`(?:^|; )${name}=([^;]*)`)?.[1] ?? "";
const renew = () => window.htmx.trigger(document.getElementById("schedule"), "poll");

function put(info) {
  const { event } = info;
  const step = event.extendedProps.step;
  const refused = hint.textContent;
  warn("");
  if (refused) return info.revert();
  const minutes = Math.round((event.end - event.start) / 60_000);
  const values = { room: event.resourceIds[0], start: wall(event.start), duration: minutes, version: step.version };
  if (values.room === step.room) values.device = step.device; // another room has other devices
  stale = true;
  return send(step.place, values).then(draw);
}

/* Drawing only what changed, so that focus and scroll stay */

function draw() {
  data = read();
  if (!calendar || dragging) {
    stale = true;
    return;
  }
  stale = false;
  const focused = document.activeElement?.dataset?.step;
  const wanted = new Map(drawn().map((event) => [event.id, event]));
  for (const event of calendar.getEvents()) {
    const next = wanted.get(event.id);
    if (!next) calendar.removeEventById(event.id);
    else if (same(event, next)) wanted.delete(event.id);
    else {
      calendar.updateEvent(next);
      wanted.delete(event.id);
    }
  }
  for (const event of wanted.values()) calendar.addEvent(event);
  if (focused) requestAnimationFrame(() => place.querySelector(`[data-step="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true }));
}

function same(event, next) {
  const was = event.extendedProps.step ?? event.extendedProps.shade;
  const is = next.extendedProps.step ?? next.extendedProps.shade;
  return (
    JSON.stringify(was) === JSON.stringify(is) &&
    wall(event.start) === is.start &&
    wall(event.end) === is.end &&
    String(event.resourceIds[0]) === is.room
  );
}

/* The hours that matter: from the first opening or examination to the last */

function hours() {
  const minutes = (text) => Number(text.slice(11, 13)) * 60 + Number(text.slice(14, 16));
  const closed = data.shaded.filter((each) => each.kind === "closed");
  if (!data.rooms.length || data.rooms.some((room) => !closed.some((each) => each.room === room.id))) return ["00:00:00", "24:00:00"];
  const opens = closed.filter((each) => minutes(each.end) > 0).map((each) => minutes(each.end));
  const shuts = closed.filter((each) => minutes(each.start) > 0).map((each) => minutes(each.start));
  const starts = data.steps.map((each) => minutes(each.start));
  const ends = data.steps.map((each) => minutes(each.end) || 1440);
  if (!opens.length) return ["06:00:00", "20:00:00"];
  const first = Math.floor(Math.min(...opens, ...starts) / 60);
  const last = Math.max(first + 4, Math.ceil(Math.max(...shuts, ...ends, 0) / 60));
  return [`${two(first)}:00:00`, `${two(Math.min(24, last))}:00:00`];
}

function make() {
  if (calendar || !place || !wide.matches || !window.EventCalendar) return;
  data = read();
  const [first, last] = hours();
  const week = layout.dataset.view === "week";
  place.hidden = false;
  layout.classList.add("has-calendar");
  calendar = window.EventCalendar.create(place, {
    view: week ? "resourceTimeGridWeek" : "resourceTimeGridDay",
    date: layout.dataset.day,
    firstDay: 1,
    locale: document.documentElement.lang,
    headerToolbar: { start: "", center: "", end: "" },
    allDaySlot: false,
    datesAboveResources: true,
    resources: data.rooms.map((room) => ({ id: room.id, title: room.title })),
    events: drawn(),
    eventContent: contentOf,
    slotDuration: "00:15:00",
    slotLabelInterval: "01:00:00",
    slotHeight: 22,
    snapDuration: "00:05:00",
    slotMinTime: first,
    slotMaxTime: last,
    slotEventOverlap: false,
    columnWidth: week ? "7rem" : "minmax(9rem, 1fr)",
    scrollTime: data.now.slice(0, 10) === layout.dataset.day ? `${two(Math.max(0, Number(data.now.slice(11, 13)) - 1))}:00:00` : first,
    slotLabelFormat: (time) => `${two(time.getHours())}:${two(time.getMinutes())}`,
    editable: true,
    eventStartEditable: true,
    eventDurationEditable: true,
    dragConstraint: look,
    resizeConstraint: look,
    eventDragStart: () => (dragging = true),
    eventResizeStart: () => (dragging = true),
    eventDragStop: release,
    eventResizeStop: release,
    eventDrop: put,
    eventResize: put,
    pointer: false,
  });
}

function release() {
  dragging = false;
  setTimeout(() => {
    if (hint.textContent) warn("");
    if (stale) draw();
  }, 0);
}

/* Dragging from the side: what waits is put where the pointer lets it go */

let held = null;

function pick(event) {
  const row = event.target.closest?.("[data-drag]");
  if (!calendar || !row || event.button || event.target.closest("button, a.btn, form")) return;
  held = { row, x: event.clientX, y: event.clientY, moved: false };
}

function target(x, y) {
  const point = calendar.dateFromPoint(x, y);
  if (!point?.resource) return null;
  const start = new Date(Math.floor(point.date.getTime() / STEP) * STEP);
  const end = new Date(start.getTime() + Number(held.row.dataset.minutes) * 60_000);
  return { room: String(point.resource.id), start, end };
}

function carry(event) {
  if (!held) return;
  if (!held.moved && Math.hypot(event.clientX - held.x, event.clientY - held.y) < 6) return;
  if (!held.moved) {
    held.moved = true;
    dragging = true;
    document.body.classList.add("is-carrying");
    held.mark = { id: "carried", title: held.row.querySelector("strong").textContent, classNames: ["is-carried"], editable: false };
  }
  event.preventDefault();
  held.at = target(event.clientX, event.clientY);
  if (calendar.getEventById("carried")) calendar.removeEventById("carried");
  if (!held.at) return warn("");
  calendar.addEvent({ ...held.mark, resourceIds: [held.at.room], start: wall(held.at.start), end: wall(held.at.end) });
  warn(obstacle({ id: held.row.dataset.drag, modality: held.row.dataset.modality, room: held.at.room, start: wall(held.at.start), end: wall(held.at.end) }));
}

function drop() {
  const { row, at, moved } = held ?? {};
  held = null;
  if (!moved) return;
  document.body.classList.remove("is-carrying");
  calendar.removeEventById("carried");
  dragging = false;
  const refused = hint.textContent;
  warn("");
  row.addEventListener("click", (event) => event.preventDefault(), { once: true, capture: true });
  if (at && !refused) {
    send(row.dataset.place, { room: at.room, start: wall(at.start), duration: row.dataset.minutes, version: row.dataset.version }).then(draw);
  } else if (stale) draw();
}

if (layout) {
  make();
  wide.addEventListener("change", make);
  document.addEventListener("pointerdown", pick);
  document.addEventListener("pointermove", carry);
  document.addEventListener("pointerup", drop);
  document.addEventListener("dragstart", (event) => event.target.closest?.("[data-drag]") && event.preventDefault());
  document.addEventListener("htmx:afterSwap", (event) => event.detail.elt?.id === "schedule" && draw());
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.elt?.closest?.("#schedule") && event.detail.requestConfig?.verb === "post") renew();
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    if (document.querySelector("dialog[open]")) return;
    const step = document.activeElement?.dataset?.step;
    if (event.key === "m" && step) location.assign(data.steps.find((each) => each.id === step).place);
    else if (event.key === "m") document.activeElement?.closest("[data-rowgroup]")?.querySelector("[data-key=m]")?.click();
    else document.querySelector(`[data-go="${CSS.escape(event.key)}"]`)?.click();
  });
}
