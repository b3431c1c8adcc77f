"""Django's admin over the systems that send HL7, over what they sent, and over what the Orthanc REST remembers."""

from integrations.admin import messages, orthanc, peers

__all__ = ["messages", "orthanc", "peers"]
