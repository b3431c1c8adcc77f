from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = _("Interfaces")

    def ready(self) -> None:
        from integrations import configuration, movers  # noqa: F401  (registers them)
        from integrations.orthanc import receivers  # noqa: F401  (registers them)
