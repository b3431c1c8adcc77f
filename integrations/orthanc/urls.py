"""The Orthanc-shaped REST: mounted at `/orthanc/`, and at the root of its own port. No trailing slashes."""

from typing import Any

from django.urls import path, re_path

from integrations.orthanc import (
    bulk,
    collections,
    configuring,
    contents,
    copying,
    creating,
    finding,
    jobs,
    merging,
    modalities,
    modifying,
    peers,
    pictures,
    queries,
    storing,
    straight,
    system,
    viewing,
)
from integrations.orthanc.lookup import COLLECTIONS
from integrations.orthanc.tags import Form
from pacs.services.attributes import Level

NOT_DONE = system.ResourceNotDone.as_view
SETTING = "This is set in the administration."


def resource(level: Level) -> str:
    return f"{COLLECTIONS[level]}/<str:orthanc_{level.name.lower()}>"


def named(level: Level, what: str, view: Any, rest: str = "") -> Any:
    """The address of something about a resource."""
    name = f"orthanc-{level.name.lower()}-{what}"
    return path(f"{resource(level)}/{what}{rest}", view, name=name + ("-one" if rest else ""))


def of_level(level: Level) -> list[Any]:
    """What there is at every level."""
    view: Any = storing.Storing if level in {Level.STUDY, Level.INSTANCE} else collections.Collection
    found = [
        path(COLLECTIONS[level], view.as_view(level=level), name=f"orthanc-{COLLECTIONS[level]}"),
        path(resource(level), collections.One.as_view(level=level), name=f"orthanc-{level.name.lower()}"),
        named(level, "module", contents.Module.as_view(level=level, of=level)),
        named(level, "metadata", contents.Metadata.as_view(level=level)),
        named(level, "metadata", contents.Metadata.as_view(level=level), "/<str:orthanc_metadata>"),
        named(level, "statistics", contents.Statistics.as_view(level=level)),
        named(level, "labels", contents.Labels.as_view(level=level)),
        named(level, "labels", NOT_DONE(level=level, why="Nothing is labelled here."), "/<str:orthanc_label>"),
        named(level, "attachments", contents.Attachments.as_view(level=level)),
        named(
            level,
            "anonymize",
            copying.OneFile.as_view(anonymizes=True)
            if level is Level.INSTANCE
            else copying.Anonymize.as_view(level=level),
        ),
        named(level, "reconstruct", contents.Reconstruct.as_view(level=level)),
    ]
    for wanted in Level:
        if wanted.depth > level.depth:
            found.append(named(level, COLLECTIONS[wanted], collections.Children.as_view(level=level, wanted=wanted)))
        if wanted.depth < level.depth:
            name = wanted.name.lower()
            found.append(named(level, name, collections.Parent.as_view(level=level, wanted=wanted)))
    if level is not Level.INSTANCE:
        found += [
            named(level, "shared-tags", contents.SharedTags.as_view(level=level)),
            named(level, "instances-tags", contents.InstancesTags.as_view(level=level)),
            named(level, "archive", contents.Archive.as_view(level=level)),
            named(level, "media", contents.Archive.as_view(level=level)),
        ]
    return found


urlpatterns = [
    path("", system.Root.as_view(), name="orthanc-root"),
    path("system", system.System.as_view(), name="orthanc-system"),
    path("statistics", system.Statistics.as_view(), name="orthanc-statistics"),
    path("changes", system.Changes.as_view(), name="orthanc-changes"),
    path("exports", system.Constant.as_view(body={"Done": True, "Exports": [], "Last": 0}), name="orthanc-exports"),
    path("plugins", system.Constant.as_view(body=["dicom-web"]), name="orthanc-plugins"),
    path("plugins/dicom-web", system.Constant.as_view(body={"ID": "dicom-web", "RootUri": "../dicom-web/"}),
         name="orthanc-dicom-web"),
    path("peers", peers.Peers.as_view(), name="orthanc-peers"),
    path("peers/<str:orthanc_peer>", configuring.Peer.as_view(), name="orthanc-peer"),
    path("peers/<str:orthanc_peer>/configuration", peers.Configuration.as_view(), name="orthanc-peer-configuration"),
    path("peers/<str:orthanc_peer>/system", peers.System.as_view(), name="orthanc-peer-system"),
    path("peers/<str:orthanc_peer>/store", peers.Store.as_view(), name="orthanc-peer-store"),
    *(each for level in Level for each in of_level(level)),
    named(Level.STUDY, "modify", modifying.Modify.as_view(level=Level.STUDY)),
    named(Level.SERIES, "modify", modifying.Modify.as_view(level=Level.SERIES)),
    named(Level.PATIENT, "modify", modifying.Modify.as_view(level=Level.PATIENT)),
    named(Level.INSTANCE, "modify", copying.OneFile.as_view()),
    named(Level.STUDY, "merge", merging.Merge.as_view(level=Level.STUDY)),
    named(Level.STUDY, "split", merging.Split.as_view(level=Level.STUDY)),
    named(Level.STUDY, "module-patient", contents.Module.as_view(level=Level.STUDY, of=Level.PATIENT)),
    named(Level.PATIENT, "protected", contents.Protected.as_view()),
    named(Level.INSTANCE, "tags", contents.Tags.as_view()),
    named(Level.INSTANCE, "simplified-tags", contents.Tags.as_view(plain=Form.SIMPLE)),
    named(Level.INSTANCE, "content", contents.Content.as_view()),
    named(Level.INSTANCE, "content", contents.Content.as_view(), "/<path:orthanc_path>"),
    named(Level.INSTANCE, "file", contents.File.as_view()),
    named(Level.INSTANCE, "pdf", contents.Pdf.as_view()),
    named(Level.INSTANCE, "attachments", contents.Attachments.as_view(level=Level.INSTANCE),
          "/<str:orthanc_attachment>/<str:orthanc_what>"),
    named(Level.INSTANCE, "attachments", contents.Attachments.as_view(level=Level.INSTANCE),
          "/<str:orthanc_attachment>"),
    named(Level.INSTANCE, "preview", pictures.Picture.as_view()),
    named(Level.INSTANCE, "rendered", pictures.Picture.as_view(rendered=True)),
    named(Level.INSTANCE, "frames", pictures.Frames.as_view()),
    named(Level.INSTANCE, "frames", pictures.Picture.as_view(), "/<str:orthanc_frame>/preview"),
    path(f"{resource(Level.INSTANCE)}/frames/<str:orthanc_frame>/rendered", pictures.Picture.as_view(rendered=True),
         name="orthanc-instance-frame-rendered"),
    path(f"{resource(Level.INSTANCE)}/frames/<str:orthanc_frame>/raw", pictures.RawFrame.as_view(),
         name="orthanc-instance-frame-raw"),
    path("tools/find", finding.Find.as_view(), name="orthanc-find"),
    path("tools/lookup", finding.Lookup.as_view(), name="orthanc-lookup"),
    path("tools/now", system.Now.as_view(), name="orthanc-now"),
    path("tools/now-local", system.Now.as_view(local=True), name="orthanc-now-local"),
    path("tools/generate-uid", system.GenerateUid.as_view(), name="orthanc-generate-uid"),
    path("tools/metrics-prometheus", system.Metrics.as_view(), name="orthanc-metrics"),
    path("tools/default-encoding", system.Constant.as_view(body="Utf8"), name="orthanc-default-encoding"),
    path("tools/create-archive", system.CreateArchive.as_view(), name="orthanc-create-archive"),
    path("tools/create-media", system.CreateArchive.as_view(), name="orthanc-create-media"),
    path("tools/create-dicom", creating.CreateDicom.as_view(), name="orthanc-create-dicom"),
    path("tools/bulk-content", bulk.BulkContent.as_view(), name="orthanc-bulk-content"),
    path("tools/bulk-delete", bulk.BulkDelete.as_view(), name="orthanc-bulk-delete"),
    path("tools/bulk-anonymize", copying.BulkCopies.as_view(anonymizes=True), name="orthanc-bulk-anonymize"),
    path("tools/bulk-modify", copying.BulkCopies.as_view(), name="orthanc-bulk-modify"),
    re_path(r"^tools/(?:reset|shutdown|execute-script|log-level[\w-]*|metrics|reconstruct|dicom-echo|"
            r"dicom-conformance|invalidate-tags|accepted-transfer-syntaxes|unknown-sop-class-accepted)$",
            system.ReportedAsNotDone.as_view(why=SETTING), name="orthanc-tool-not-done"),
    path("modalities", modalities.Modalities.as_view(), name="orthanc-modalities"),
    *(
        path(f"modalities/<str:orthanc_modality>{rest}", view, name=f"orthanc-modality{rest.replace('/', '-')}")
        for rest, view in (
            ("", configuring.Modality.as_view()),
            ("/configuration", modalities.Configuration.as_view()),
            ("/echo", modalities.Echo.as_view()),
            ("/store", modalities.Store.as_view()),
            ("/store-straight", straight.StoreStraight.as_view()),
            ("/move", modalities.Move.as_view()),
            ("/query", queries.Query.as_view()),
            ("/find-study", queries.FindAtNode.as_view()),
            ("/find-series", queries.FindAtNode.as_view(level=Level.SERIES)),
        )
    ),
    path("queries", queries.Queries.as_view(), name="orthanc-queries"),
    *(
        path(f"queries/<str:orthanc_query>{rest}", view, name=f"orthanc-query{number}")
        for number, (rest, view) in enumerate(
            (
                ("", queries.OneQuery.as_view()),
                ("/level", queries.OneQuery.as_view(what="level")),
                ("/modality", queries.OneQuery.as_view(what="modality")),
                ("/query", queries.OneQuery.as_view(what="query")),
                ("/answers", queries.Answers.as_view()),
                ("/retrieve", queries.Retrieve.as_view(all=True)),
                ("/answers/<str:orthanc_answer>", queries.Answer.as_view()),
                ("/answers/<str:orthanc_answer>/content", queries.Answer.as_view(content=True)),
                ("/answers/<str:orthanc_answer>/retrieve", queries.Retrieve.as_view()),
            )
        )
    ),
    path(viewing.ADDRESS, viewing.open_series, name="orthanc-viewer"),
    path("jobs", jobs.Jobs.as_view(), name="orthanc-jobs"),
    *(
        path(f"jobs/<str:orthanc_job>{rest}", jobs.Job.as_view(action=rest[1:]), name=f"orthanc-job{rest[1:]}")
        for rest in ("", "/cancel", "/resubmit", "/pause", "/resume")
    ),
    re_path(r"", system.Nowhere.as_view(), name="orthanc-nowhere"),
]  # fmt: skip
