"""Gunicorn for every deployment: `gunicorn --config deploy/gunicorn.conf.py radiology.wsgi`.

A thread is held for as long as a body streams; `timeout` watches the worker process, not a request,
so a long download is not cut.
"""

import os
from pathlib import Path

_host = os.environ.get("SINAR_BIND", "127.0.0.1")
_ports = [os.environ.get("SINAR_HTTP_PORT") or "8000", os.environ.get("SINAR_ORTHANC_PORT") or "8042"]
# The second port is served by the same processes (radiology.orthanc_port); 0 closes it.
bind = [f"{_host}:{port}" for port in dict.fromkeys(_ports) if port != "0"]
worker_class = "radiology.web_worker.WebWorker"
# Loaded once, before forking: a worker that died is replaced at once, and memory is shared.
preload_app = True
workers = int(os.environ.get("SINAR_WEB_WORKERS", "2"))
threads = int(os.environ.get("SINAR_WEB_THREADS", "16"))
timeout = 60
graceful_timeout = 20
keepalive = 15
backlog = 512
# Several StudyInstanceUIDs of 64 characters stand in one address.
limit_request_line = 8190
if Path("/dev/shm").is_dir():  # noqa: S108
    worker_tmp_dir = "/dev/shm"  # noqa: S108 - its heartbeat file must not wait for a busy disk

logger_class = "radiology.web_log.WebLogger"
accesslog = "-"
errorlog = "-"
# Without query string and referrer: both may name a patient or hold a token.
access_log_format = '%(t)s %(h)s "%(m)s %(U)s" %(s)s %(B)s %(M)sms'
control_socket_disable = True  # it would lie in the home folder and say what a signal says
