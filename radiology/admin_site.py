"""Django's admin in the house's look, behind the house's sign-in."""

from collections.abc import Callable
from typing import Any

from allauth.account.decorators import secure_admin_login
from csp.constants import UNSAFE_EVAL, UNSAFE_INLINE
from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.module_loading import import_string
from unfold.admin import ModelAdmin
from unfold.sites import UnfoldAdminSite

# Unfold runs on Alpine, which evaluates expressions out of attributes and sets styles on elements.
# Scripts in the page stay forbidden, so that a name with a script in it stays a name.
CONFIGURATION_PAGE = "pacs.admin.configuration.configuration_page"
POLICY = {"script-src": [UNSAFE_EVAL], "style-src": [UNSAFE_INLINE]}


class SinarAdminSite(UnfoldAdminSite):
    """Every page of it under `POLICY`; people come in by the same door as everywhere, second factor included."""

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Libraries register their models in Django's own look; ours, in the house's, stand instead."""
        if admin_class is not None and issubclass(admin_class, ModelAdmin):
            super().register(model_or_iterable, admin_class, **options)

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Callable[..., HttpResponseBase]:
        return csp_update(POLICY)(super().admin_view(view, cacheable))

    def get_urls(self) -> list[Any]:
        page = path("configuration/", self.admin_view(import_string(CONFIGURATION_PAGE)), name="configuration")
        return [page, *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The first page lists the same groups as the menu."""
        return super().index(request, {"app_list": self._menu_as_apps(request), **(extra_context or {})})

    def _menu_as_apps(self, request: HttpRequest) -> list[dict[str, Any]]:
        models = {entry["admin_url"]: entry for app in self.get_app_list(request) for entry in app["models"]}
        groups = []
        for group in self.get_sidebar_list(request):
            links = [(str(item["title"]), str(item["link"])) for item in group["items"]]
            entries = [{**models[link], "name": title} for title, link in links if link in models]
            if entries:
                groups.append({"name": group["title"], "app_label": "", "app_url": "", "models": entries})
        return groups

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        return secure_admin_login(super().login)(request, extra_context)
