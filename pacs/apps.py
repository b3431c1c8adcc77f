from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PacsConfig(AppConfig):
    name = "pacs"
    verbose_name = _("Images")

    def ready(self) -> None:
        from pacs import checks, configuration, receivers  # noqa: F401  (registers them)
        from pacs.services.key_images import ArchivedImages
        from radiology.services.key_images import provides_images

        provides_images(ArchivedImages())
