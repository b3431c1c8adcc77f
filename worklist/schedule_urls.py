from django.urls import path

from worklist import schedule_actions, schedule_pages

urlpatterns = [
    path("schedule", schedule_pages.schedule, name="schedule"),
    path("schedule/steps/<uuid:step>", schedule_actions.Place.as_view(), name="schedule-step"),
    path("schedule/steps/<uuid:step>/off", schedule_actions.take_off, name="schedule-off"),
    path("schedule/steps/<uuid:step>/now", schedule_actions.now, name="schedule-now"),
    path("schedule/steps/<uuid:step>/move", schedule_actions.move, name="schedule-move"),
    path("schedule/steps/<uuid:step>/undo/<str:back>", schedule_actions.undo, name="schedule-undo"),
]
