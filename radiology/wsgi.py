import os
from importlib import import_module

import django
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "radiology.settings.production")
django.setup(set_prefix=False)

handler = import_module("radiology.straight").Handler
application = import_module("radiology.orthanc_port").OrthancPort(handler())
import_module(settings.ROOT_URLCONF)  # every view, now and not with the first request
