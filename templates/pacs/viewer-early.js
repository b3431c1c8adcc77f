// What the viewer asks for first, asked for while its scripts are still being read. It takes each answer from here in
// place of asking (deploy/ohif_first_image.py); where there is none, or the server refused, it asks as ever.
window.sinarEarly = (() => {
  const SECONDS = 30; // then what is left is dropped, so that nothing old is ever shown
  const answers = new Map();

  // `times`: how often the viewer asks for this when it opens, and so how often this answer may be taken.
  function ask(url, times = 1) {
    const answer = fetch(url, { headers: { Accept: "application/dicom+json" } })
      .then((response) => (response.status === 200 ? response.json() : null))
      .catch(() => null);
    answers.set(url, { answer, times });
    return answer;
  }

  async function askForSeries(study) {
    const found = await ask(`/dicom-web/studies/${study}/series?includefield=00080021%2C00080031%2C0008103E%2C00200011`);
    for (const series of found ?? []) {
      ask(`/dicom-web/studies/${study}/series/${series["0020000E"].Value[0]}/metadata`);
    }
  }

  const named = new URLSearchParams(location.search);
  // A link to some of the series asks for these alone, and not as here.
  if (location.pathname === "/ohif/viewer" && !named.has("SeriesInstanceUIDs")) {
    const fields = "includefield=00081030%2C00080060%2C00080090%2C00100030";
    for (const study of new Set((named.get("StudyInstanceUIDs") ?? "").split(","))) {
      if (!/^[0-9.]{1,64}$/.test(study)) continue;
      ask(`/dicom-web/studies?limit=101&offset=0&fuzzymatching=true&${fields}&StudyInstanceUID=${study}`, 2);
      askForSeries(study);
    }
    setTimeout(() => answers.clear(), SECONDS * 1000);
  }

  // The answer to `url` if it was asked for here; what `request` brings otherwise.
  return async (url, request) => {
    const early = answers.get(url);
    if (!early) return request();
    early.times -= 1;
    const isLast = !early.times;
    if (isLast) answers.delete(url);
    const answer = await early.answer;
    if (answer === null) return request();
    return isLast ? answer : structuredClone(answer);
  };
})();
