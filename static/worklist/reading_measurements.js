// What is measured in the viewer, as it is measured. The viewer tells through its own measurement service.

const EVERY = 500;

/** Calls `tell` with the measurements of the viewer in `frame` whenever one comes, changes or goes. */
window.watchMeasurements = (frame, tell) => {
  let service = null;
  const every = () => (service?.getMeasurements() ?? []).map(told).filter((each) => each.text);
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

function told(measurement) {
  const shown = measurement.displayText;
  const values = Array.isArray(shown) ? shown : (shown?.primary ?? []);
  const value = values.flat().filter(Boolean).join(", ");
  const label = measurement.label && measurement.label !== "(empty)" ? measurement.label : "";
  const address = new URLSearchParams({
    StudyInstanceUIDs: measurement.referenceStudyUID ?? "",
    initialSeriesInstanceUID: measurement.referenceSeriesUID ?? "",
    initialSOPInstanceUID: measurement.SOPInstanceUID ?? "",
  });
  return { uid: measurement.uid, text: [label, value].filter(Boolean).join(": "), address: `/viewer?${address}` };
}
