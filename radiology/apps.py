from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class RadiologyConfig(AppConfig):
    name = "radiology"
    verbose_name = _("Department")
    default = True

    def ready(self) -> None:
        from radiology import checks, critical_receivers, report_receivers  # noqa: F401  (registers them)
        from radiology.log import configure_logging

        configure_logging()


class AdminConfig(admin_apps.AdminConfig):
    default_site = "radiology.admin_site.SinarAdminSite"
    default = False

    def ready(self) -> None:
        from radiology.services.roles import after_migrate

        super().ready()
        # Connected after django.contrib.auth, which makes the rights that the roles get.
        post_migrate.connect(after_migrate, dispatch_uid="radiology.first_rights")
