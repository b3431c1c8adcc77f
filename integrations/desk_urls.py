from django.urls import path

from integrations import desk_pages, mapping_page

urlpatterns = [
    path("interfaces", desk_pages.desk, name="interfaces"),
    path("interfaces/count", desk_pages.count, name="interfaces-count"),
    path("interfaces/replays", desk_pages.replay_all, name="interfaces-replay-all"),
    path("interfaces/peers/<int:pk>/mapping", mapping_page.mapping, name="interface-mapping"),
    path("interfaces/messages/<uuid:public_id>", desk_pages.message, name="interface-message"),
    path("interfaces/messages/<uuid:public_id>/edit", desk_pages.edit, name="interface-message-edit"),
    path("interfaces/messages/<uuid:public_id>/replay", desk_pages.replay_one, name="interface-message-replay"),
    path("interfaces/messages/<uuid:public_id>/close", desk_pages.close, name="interface-message-close"),
]
