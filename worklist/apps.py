from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class WorklistConfig(AppConfig):
    name = "worklist"
    verbose_name = _("Worklist")

    def ready(self) -> None:
        from worklist import (  # noqa: F401  (registers them)
            configuration,
            reading_receivers,
            receivers,
            reconciliation_receivers,
            report_watch_receivers,
            result_receivers,
        )
