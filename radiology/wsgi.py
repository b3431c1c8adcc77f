import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "radiology.settings.production")

from radiology.orthanc_port import OrthancPort

application = OrthancPort(get_wsgi_application())
