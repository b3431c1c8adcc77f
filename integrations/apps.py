from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = _("Interfaces")

    def ready(self) -> None:
        from integrations import configuration, movers, receivers  # noqa: F401  (registers them)
        from integrations.orthanc import receivers as orthanc_receivers  # noqa: F401
        from integrations.webhooks import receivers as webhook_receivers  # noqa: F401
