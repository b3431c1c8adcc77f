"""The addresses of a study's page and of the inboxes."""

from django.urls import path, re_path

from pacs import inbox, study_actions, study_page
from pacs.study_share import Share

STUDY = r"^studies/(?P<study_instance_uid>[0-9.]{1,64})"
ID = "(?P<public_id>[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})"

urlpatterns = [
    re_path(f"{STUDY}$", study_page.study, name="study"),
    re_path(rf"{STUDY}/series/(?P<pk>\d{{1,18}})/images$", study_page.images, name="study-images"),
    re_path(
        rf"{STUDY}/series/(?P<pk>\d{{1,18}})/correct$",
        study_actions.CorrectSeries.as_view(),
        name="study-series-correct",
    ),
    re_path(f"{STUDY}/headers$", study_page.header, name="study-headers"),
    re_path(f"{STUDY}/history$", study_page.study_history, name="study-history"),
    re_path(f"{STUDY}/correct$", study_actions.CorrectStudy.as_view(), name="study-correct"),
    re_path(f"{STUDY}/patient$", study_actions.OtherPatient.as_view(), name="study-patient"),
    re_path(f"{STUDY}/split$", study_actions.Split.as_view(), name="study-split"),
    re_path(f"{STUDY}/merge$", study_actions.Merge.as_view(), name="study-merge"),
    re_path(f"{STUDY}/reject$", study_actions.Reject.as_view(), name="study-reject"),
    re_path(f"{STUDY}/delete$", study_actions.Delete.as_view(), name="study-delete"),
    re_path(f"{STUDY}/share$", Share.as_view(), name="study-share"),
    re_path(f"{STUDY}/corrections/{ID}/undo$", study_actions.undo, name="study-undo"),
    re_path(f"{STUDY}/removals/{ID}/restore$", study_actions.restore, name="study-restore"),
    path("inbox", inbox.inbox, name="inbox"),
    path("inbox/decide", inbox.decide, name="inbox-decide"),
    path("inbox/decisions/<uuid:public_id>/undo", inbox.undo, name="inbox-undo"),
    path("inbox/held/<int:pk>/picture", inbox.picture, name="inbox-picture"),
    path("inbox/unknown/<uuid:public_id>/assign", inbox.assign, name="inbox-assign"),
    path("inbox/unknown/<uuid:public_id>/register", inbox.register, name="inbox-register"),
    path("inbox/corrections/<uuid:public_id>/undo", inbox.undo_patient, name="inbox-undo-patient"),
]
