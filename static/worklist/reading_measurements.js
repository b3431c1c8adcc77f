// What is measured in the viewer, as it is measured. The viewer tells through its own measurement service.

const EVERY = 500;
// Of each tool what it measures: name of the figure, and of its unit.
const AREA = [["area", "areaUnit"], ["mean", "modalityUnit"], ["stdDev", "modalityUnit"], ["max", "modalityUnit"], ["min", "modalityUnit"]];
const FIGURES = {
  Length: [["length", "unit"]],
  Bidirectional: [["length", "unit"], ["width", "widthUnit"]],
  Angle: [["angle", "unit"]],
  CobbAngle: [["angle", "unit"]],
  EllipticalROI: AREA,
  RectangleROI: AREA,
  CircleROI: [...AREA, ["radius", "radiusUnit"]],
  PlanarFreehandROI: AREA,
  Probe: [["value", "modalityUnit"]],
};
// So many points of an outline are kept.
const POINTS = 200;

/** Calls `tell` with the measurements of the viewer in `frame` whenever one comes, changes or goes. */
window.watchMeasurements = (frame, tell) => {
  let service = null;
  const every = () => (service?.getMeasurements() ?? []).map((each) => told(each, frame)).filter((each) => each.text);
  const look = () => {
    let found = null;
    try {
      found = frame.contentWindow.services?.measurementService ?? null;
    } catch {
      return; // an address of elsewhere is none of ours to look into
    }
    if (!found || found === service) return;
    service = found;
    for (const name of ["MEASUREMENT_ADDED", "MEASUREMENT_UPDATED", "RAW_MEASUREMENT_ADDED", "MEASUREMENT_REMOVED", "MEASUREMENTS_CLEARED"]) {
      if (service.EVENTS[name]) service.subscribe(service.EVENTS[name], () => tell(every()));
    }
    tell(every());
  };
  setInterval(look, EVERY);
};

function told(measurement, frame) {
  const shown = measurement.displayText;
  const values = Array.isArray(shown) ? shown : (shown?.primary ?? []);
  const value = values.flat().filter(Boolean).join(", ");
  const label = measurement.label && measurement.label !== "(empty)" ? measurement.label : "";
  const address = new URLSearchParams({
    StudyInstanceUIDs: measurement.referenceStudyUID ?? "",
    initialSeriesInstanceUID: measurement.referenceSeriesUID ?? "",
    initialSOPInstanceUID: measurement.SOPInstanceUID ?? "",
  });
  const text = [label, value].filter(Boolean).join(": ");
  return { uid: measurement.uid, text, address: `/viewer?${address}${figures(measurement, label, value, frame)}` };
}

// What was measured and where, behind the # of the address: it stays with the words, and no server is asked for it.
// The points are columns and rows of the image, as in PS3.3 C.18.6.
function figures(measurement, label, shown, frame) {
  const names = FIGURES[measurement.toolName];
  const found = Object.values(measurement.data ?? {})[0];
  if (!names || !found) return "";
  const kept = new URLSearchParams({ tool: measurement.toolName, shown, label, frame: measurement.frameNumber ?? 1 });
  for (const [name, unit] of names) {
    if (Number.isFinite(found[name])) kept.append("value", [name, found[name], found[unit] ?? found.unit ?? ""].join(" ").trim());
  }
  if (!kept.has("value")) return "";
  const points = onImage(measurement, frame);
  if (points.length) kept.set("points", points.flat().map((each) => Math.round(each * 100) / 100).join(" "));
  return `#${kept}`;
}

function onImage(measurement, frame) {
  try {
    const module = frame.contentWindow.extensionManager.getModuleEntry("@ohif/extension-cornerstone.utilityModule.common");
    const { cornerstone } = module.exports.getCornerstoneLibraries();
    const points = measurement.points ?? [];
    const step = Math.ceil(points.length / POINTS);
    const some = points.filter((_, index) => index % step === 0);
    return some.map((point) => [...cornerstone.utilities.worldToImageCoords(measurement.referencedImageId, point)]);
  } catch {
    return []; // measured across images, as in a reconstruction
  }
}
