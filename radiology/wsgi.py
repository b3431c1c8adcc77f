import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "radiology.settings.production")

from radiology.orthanc_port import OrthancPort

application = OrthancPort(get_wsgi_application())
import_module(settings.ROOT_URLCONF)  # every view, now and not with the first request
