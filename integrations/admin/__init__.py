"""Django's admin over the systems that send HL7, and over what they sent."""

from integrations.admin import messages, peers

__all__ = ["messages", "peers"]
