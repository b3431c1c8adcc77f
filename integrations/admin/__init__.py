"""Django's admin over the systems that send HL7, over what they sent, and over who is told of events."""

from integrations.admin import messages, peers, webhooks

__all__ = ["messages", "peers", "webhooks"]
