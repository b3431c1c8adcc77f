// Which image the viewer in a frame shows, in which window, and one of them shown again there: asked of the viewer's own
// services. In the window of the images alone this answers what the report's window asks.

const IMAGE = /\/studies\/([\d.]+)\/series\/([\d.]+)\/instances\/([\d.]+)\/frames\/(\d+)/;
const EVERY = 300;
const TRIES = 200;

const services = (frame) => {
  try {
    return frame.contentWindow.services ?? null;
  } catch {
    return null; // an address of elsewhere is none of ours to look into
  }
};
const isDark = (viewport) => viewport.getCornerstoneImage?.()?.photometricInterpretation === "MONOCHROME1";
// SUV instead of what is stored: the archive draws what is stored.
function scale(viewport) {
  const data = viewport.getImageData?.();
  return (data?.preScale?.scaled && data.scaling?.PT?.suvbw) || 1;
}

/** The image of the active viewport (`instance`, `frame`, `window`, `inverted`); null where it is no stored one. */
window.shownImage = (frame) => {
  const { viewportGridService, cornerstoneViewportService } = services(frame) ?? {};
  const viewport = cornerstoneViewportService?.getCornerstoneViewport(viewportGridService?.getState().activeViewportId);
  const found = IMAGE.exec(viewport?.getCurrentImageId?.() ?? "");
  if (!found) return null;
  const { voiRange, invert } = viewport.getProperties?.() ?? {};
  const isColour = Boolean(viewport.getCornerstoneImage?.()?.color);
  return {
    instance: found[3],
    frame: Number(found[4]),
    window: voiRange && !isColour ? windowOf(voiRange, scale(viewport)) : null,
    inverted: !isColour && Boolean(invert) !== isDark(viewport),
  };
};

// PS3.3 C.11.2.1.2 and C.11.2.1.3; an exact one where one value more or less would be seen.
function windowOf({ lower, upper }, by) {
  const width = upper - lower;
  if (!(width > 0)) return null;
  if (by !== 1 || width < 20) return { center: (lower + upper) / 2 / by, width: width / by, function: "linear-exact" };
  return { center: (lower + upper + 1) / 2, width: width + 1, function: "linear" };
}
function rangeOf({ center, width, function: kind }, by) {
  const [middle, half] = kind === "linear" ? [center - 0.5, (width - 1) / 2] : [center, width / 2];
  return { lower: (middle - half) * by, upper: (middle + half) * by };
}

let asked = 0;
/** Shows an image in the viewer as it was chosen: at once where its series is open, else after `open` of its address. */
window.showImage = async (frame, image, open) => {
  asked += 1;
  const mine = asked;
  if (await show(frame, image)) return;
  open(image.viewer);
  for (let tries = 0; tries < TRIES && mine === asked; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    if (mine === asked && (await show(frame, image))) return;
  }
};
async function show(frame, image) {
  const { viewportGridService: grid, cornerstoneViewportService } = services(frame) ?? {};
  if (!grid || !cornerstoneViewportService) return false;
  const { viewports, activeViewportId } = grid.getState();
  const ids = [activeViewportId, ...[...viewports.keys()].filter((id) => id !== activeViewportId)];
  for (const id of ids) {
    const viewport = cornerstoneViewportService.getCornerstoneViewport(id);
    if (!viewport?.setImageIdIndex) continue;
    const at = viewport.getImageIds().findIndex((each) => {
      const found = IMAGE.exec(each);
      return found && found[3] === image.instance && Number(found[4]) === (image.frame ?? 1);
    });
    if (at < 0) continue;
    grid.setActiveViewportId(id);
    await viewport.setImageIdIndex(at);
    const properties = { invert: image.inverted !== isDark(viewport) };
    if (image.window) properties.voiRange = rangeOf(image.window, scale(viewport));
    if (!viewport.getCornerstoneImage?.()?.color) viewport.setProperties(properties);
    viewport.render();
    return true;
  }
  return false;
}

/** Calls `call` when Alt K is pressed inside of the frame. */
window.onMarkKey = (frame, call) => {
  let known = null;
  setInterval(() => {
    let inside = null;
    try {
      inside = frame.contentDocument;
    } catch {
      return;
    }
    if (!inside || inside === known) return;
    known = inside;
    inside.addEventListener("keydown", (event) => {
      if (!window.isMarkKey(event)) return;
      event.preventDefault();
      event.stopPropagation();
      call();
    }, true);
  }, 500);
};
window.isMarkKey = (event) => event.altKey && !event.ctrlKey && !event.metaKey && event.code === "KeyK";

if (!document.querySelector("[data-reading]")) {
  const channel = new BroadcastChannel("sinar second screen");
  const frame = document.querySelector("iframe");
  const tell = () => channel.postMessage({ captured: window.shownImage(frame) });
  channel.addEventListener("message", ({ data }) => {
    if (data.capture) tell();
    // What is opened goes the way of all that the report's window opens here.
    else if (data.recall) window.showImage(frame, data.recall, (address) => channel.postMessage({ show: address, study: "" }));
  });
  window.onMarkKey(frame, tell);
  document.addEventListener("keydown", (event) => {
    if (!window.isMarkKey(event)) return;
    event.preventDefault();
    tell();
  });
}
