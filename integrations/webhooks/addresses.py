"""Which addresses may be called: public ones by TLS, others where an administrator allowed their network.

What is looked at is the address that will be connected to, not the name: a name may mean another address a
moment later (DNS rebinding).
"""

import ipaddress
import queue
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext as _

from integrations.models import WebhookNetwork
from radiology.errors import Unreachable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# A gateway turns these into IPv4 addresses (RFC 6052, RFC 8215), inside ones too.
TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


@dataclass(frozen=True)
class Allowed:
    """The networks that an administrator allowed."""

    networks: tuple[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, bool], ...] = ()

    @classmethod
    def at(cls, site_id: int | None) -> "Allowed":
        rows = WebhookNetwork.objects.filter(site=site_id).values_list("network", "plain_http")
        return cls(tuple((ipaddress.ip_network(network, strict=False), plain) for network, plain in rows))

    def admits(self, address: str, *, tls: bool) -> bool:
        """Whether this very address may be called."""
        try:
            given = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        meant = _meant(given)
        inside = [plain for network, plain in self.networks if meant in network]
        if not tls:
            return any(inside)
        return bool(inside) or is_public(given)


def is_public(address: Address) -> bool:
    """Whether anybody on the internet would mean the same host by it."""
    meant = _meant(address)
    if isinstance(meant, ipaddress.IPv6Address) and any(meant in network for network in TRANSLATED):
        return False
    return meant.is_global and not meant.is_multicast and not meant.is_reserved


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 one wraps (mapped, 6to4, Teredo), else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if wrapped is not None:
            return wrapped
    return address


def resolve(host: str, port: int, *, seconds: float) -> list[str]:
    """The addresses of a host, in the system's order. Raises Unreachable."""
    answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else OSError(str(error)))
        else:
            answers.put(list(dict.fromkeys(str(each[4][0]) for each in found)))

    # The system's resolver knows no time limit.
    threading.Thread(target=ask, name="webhook-resolve", daemon=True).start()
    try:
        found = answers.get(timeout=seconds)
    except queue.Empty:
        raise Unreachable(_("The name %(host)s was not answered in time.") % {"host": host}) from None
    if isinstance(found, OSError):
        raise Unreachable(_("The name %(host)s is unknown: %(error)s.") % {"host": host, "error": found}) from found
    return found


def admitted(host: str, addresses: Iterable[str], *, allowed: Allowed, tls: bool) -> list[str]:
    """Those of the addresses that may be called. Raises Unreachable, saying what to do, when there is none."""
    addresses = list(addresses)
    found = [each for each in addresses if allowed.admits(each, tls=tls)]
    if found:
        return found
    if not tls and any(allowed.admits(each, tls=True) for each in addresses):
        told = _(
            "%(host)s is called without TLS: use https, or let an administrator allow http for the network of "
            "%(address)s."
        )
    else:
        told = _(
            "%(host)s is %(address)s, which is not outside: an administrator must allow that network for webhooks "
            "first."
        )
    raise Unreachable(told % {"host": host, "address": ", ".join(addresses[:4])})
