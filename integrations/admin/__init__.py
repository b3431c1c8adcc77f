"""Django's admin over the systems that speak HL7, their messages, webhooks, and what the Orthanc REST remembers."""

from integrations.admin import messages, orthanc, peers, webhooks

__all__ = ["messages", "orthanc", "peers", "webhooks"]
