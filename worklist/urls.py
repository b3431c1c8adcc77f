from django.urls import include, path

from worklist import board_pages, examination_page, home_page

urlpatterns = [
    path("", home_page.home, name="home"),
    path("worklist/today", home_page.today, name="today"),
    path("worklist", board_pages.worklist, name="studies"),
    path("worklist/corridor", board_pages.corridor, name="corridor"),
    path("worklist/repeats", examination_page.repeats, name="repeats"),
    path("examinations/<uuid:public_id>", examination_page.examination, name="examination"),
    path("examinations/<uuid:public_id>/move", board_pages.move, name="examination-move"),
    path("examinations/<uuid:public_id>/room", board_pages.swap, name="examination-room"),
    path("examinations/<uuid:public_id>/quality", examination_page.check, name="examination-quality"),
    path("quality/<int:pk>/undo", examination_page.undo_check, name="quality-undo"),
    path("", include("worklist.schedule_urls")),
    path("", include("worklist.query_urls")),
    path("", include("worklist.reconciliation_urls")),
    path("", include("worklist.reading_view_urls")),
    path("", include("worklist.reading_list_urls")),
    path("", include("worklist.result_urls")),
    path("", include("worklist.figures_urls")),
    path("", include("worklist.peer_review_urls")),
]
