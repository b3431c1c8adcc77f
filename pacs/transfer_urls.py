from django.urls import path

from pacs import remote_pages, transfer_pages

urlpatterns = [
    path("transfers", transfer_pages.index, name="transfers"),
    path("transfers/send", transfer_pages.send, name="send"),
    path("transfers/<uuid:public_id>", transfer_pages.transfer, name="transfer"),
    path("transfers/<uuid:public_id>/cancel", transfer_pages.cancel, name="transfer-cancel"),
    path("transfers/<uuid:public_id>/pause", transfer_pages.pause, name="transfer-pause"),
    path("transfers/<uuid:public_id>/resume", transfer_pages.resume, name="transfer-resume"),
    path("transfers/<uuid:public_id>/retry", transfer_pages.retry, name="transfer-retry"),
    path("remote", remote_pages.remote, name="remote"),
    path("remote/fetch", remote_pages.fetch, name="remote-fetch"),
]
