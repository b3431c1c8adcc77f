{% load i18n %}
// The viewer's configuration. Read by its page before its own script.

{% include "pacs/viewer-early.js" %}

// In a frame of another site a browser may refuse to keep anything: what the viewer keeps then lasts as long as the page.
for (const name of ["localStorage", "sessionStorage"]) {
  try {
    window[name].length;
  } catch {
    const kept = new Map();
    const storage = {
      getItem: (key) => kept.get(String(key)) ?? null,
      setItem: (key, value) => void kept.set(String(key), String(value)),
      removeItem: (key) => void kept.delete(String(key)),
      clear: () => kept.clear(),
      key: (index) => [...kept.keys()][index] ?? null,
      get length() {
        return kept.size;
      },
    };
    Object.defineProperty(window, name, { value: storage, configurable: true });
  }
}

{
  // The page's language is the one chosen in Sinar; a choice in the viewer lasts until that changes.
  const language = "{{ language }}";
  if (localStorage.getItem("sinar.language") !== language) {
    localStorage.setItem("sinar.language", language);
    localStorage.setItem("i18nextLng", language);
    document.cookie = `i18next=${language};path=/;SameSite=Lax`;
  }

  // Writing takes Django's token; the viewer sends with the session cookie only.
  const token = () => document.cookie.match(/(?:^|; ){{ csrf_cookie }}=([^;]*)/)?.[1] ?? "";
  const { open, send } = XMLHttpRequest.prototype;
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    this.sinarWrites = !/^(GET|HEAD|OPTIONS)$/i.test(method) && new URL(url, location.href).origin === location.origin;
    return open.call(this, method, url, ...rest);
  };
  XMLHttpRequest.prototype.send = function (body) {
    if (this.sinarWrites) this.setRequestHeader("X-CSRFToken", token());
    return send.call(this, body);
  };
}

// What the viewer says of something that the archive did not take.
function whyNotSaved(request) {
  if (!request.status) return "{% translate "Not saved: the server cannot be reached. Save again when it can." as words %}{{ words|escapejs }}";
  if (request.status === 401) return "{% translate "Not saved: you are signed out. Sign in on another tab, then save again." as words %}{{ words|escapejs }}";
  let said = "";
  try {
    const body = JSON.parse(typeof request.response === "string" ? request.response : new TextDecoder().decode(request.response));
    said = body["00081198"]?.Value?.[0]?.["00000902"]?.Value?.[0] ?? body.detail ?? "";
  } catch {
    // An answer that is none of ours, such as that of a proxy.
  }
  return "{% translate "Not saved." as words %}{{ words|escapejs }} " + (said || request.status);
}

window.config = {
  name: "sinar",
  routerBasename: "/ohif/",
  extensions: [],
  modes: [],
  customizationService: { "ohif.tours": { $set: [] } },
  showStudyList: false,
  showPatientInfo: "visible",
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  showLoadingIndicator: true,
  showErrorDetails: "production",
  investigationalUseDialog: { option: "never" },
  disableConfirmationPrompts: true,
  measurementTrackingMode: "simplified",
  strictZSpacingForVolumeViewport: true,
  maxNumberOfWebWorkers: 4,
  maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
  whiteLabeling: {
    createLogoComponentFn: (React) =>
      React.createElement(
        "a",
        { href: "/worklist", title: "Sinar", style: { color: "#fff", fontWeight: 600, fontSize: "1.1rem", padding: "0 0.75rem" } },
        "Sinar",
      ),
  },
  httpErrorHandler: (error) => {
    if (error.request?.sinarWrites) {
      error.message = whyNotSaved(error.request); // what was measured stays on the page, to be saved again
    } else if (error.status === 401) {
      location.reload(); // the page leads on to the sign-in, or says why a link is closed
    }
  },
  defaultDataSourceName: "dicomweb",
  dataSources: [
    {
      namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
      sourceName: "dicomweb",
      configuration: {
        friendlyName: "Sinar",
        name: "sinar",
        qidoRoot: "/dicom-web",
        wadoRoot: "/dicom-web",
        qidoSupportsIncludeField: true,
        imageRendering: "wadors",
        thumbnailRendering: "wadors",
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: true,
        supportsWildcard: true,
        supportsReject: false,
        dicomUploadEnabled: false,
        omitQuotationForMultipartRequest: true,
        bulkDataURI: { enabled: true, relativeResolution: "studies" },
      },
    },
    {
      namespace: "@ohif/extension-default.dataSourcesModule.dicomlocal",
      sourceName: "dicomlocal",
      configuration: { friendlyName: "Files of this computer" },
    },
  ],
};
