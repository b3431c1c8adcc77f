import argparse
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from pacs.dimse import scu
from pacs.models import ApplicationEntity, NodePriority
from radiology.errors import Unreachable

LIMITS = (
    "priority",
    "most_associations_from",
    "most_associations_to",
    "associations_per_transfer",
    "receive_rate",
    "send_rate",
)


class Command(BaseCommand):
    help = "Register, limit, verify, list and remove DICOM nodes."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="register a node, or change its TLS setting")
        add.add_argument("title")
        add.add_argument("host")
        add.add_argument("port", type=int)
        add.add_argument("--tls", action="store_true", help="connect to it with TLS")
        limits = actions.add_parser("set", help="limit a node: associations at once, megabytes a second, priority")
        limits.add_argument("title")
        limits.add_argument("--priority", choices=NodePriority.values, help="who goes first where not everybody can")
        limits.add_argument("--most-associations-from", type=int, metavar="N", help="at once from it; 0: no limit")
        limits.add_argument("--most-associations-to", type=int, metavar="N", help="at once to it; 0: no limit")
        limits.add_argument(
            "--associations-per-transfer", type=int, metavar="N", help="a study is sent over so many side by side"
        )
        limits.add_argument("--receive-rate", type=float, metavar="MB", help="a second from it; 0: no limit")
        limits.add_argument("--send-rate", type=float, metavar="MB", help="a second to it; 0: no limit")
        echo = actions.add_parser("echo", help="ask a node whether it answers (C-ECHO)")
        echo.add_argument("title")
        remove = actions.add_parser("remove", help="remove the nodes of a title")
        remove.add_argument("title")
        actions.add_parser("list", help="list all nodes")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(options)

    def _add(self, options: dict[str, Any]) -> None:
        address = {"title": options["title"], "host": options["host"], "port": options["port"]}
        node = ApplicationEntity.objects.filter(**address).first() or ApplicationEntity(**address)
        node.tls = options["tls"]
        self._save(node)
        self.stdout.write(str(node))

    def _set(self, options: dict[str, Any]) -> None:
        given = {name: options[name] for name in LIMITS if options[name] is not None}
        for node in self._nodes(options["title"]):
            for name, value in given.items():
                setattr(node, name, value)
            self._save(node)
            values = " ".join(f"{name.replace('_', '-')}={getattr(node, name):g}" for name in LIMITS[1:])
            self.stdout.write(f"{node} {node.priority} {values}")

    def _save(self, node: ApplicationEntity) -> None:
        try:
            node.full_clean()
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from None
        node.save()

    def _echo(self, options: dict[str, Any]) -> None:
        for node in self._nodes(options["title"]):
            try:
                scu.echo(node=node)
            except Unreachable as error:
                raise CommandError(error.message) from None
            self.stdout.write(f"{node} answers.")

    def _remove(self, options: dict[str, Any]) -> None:
        for node in self._nodes(options["title"]):
            node.delete()
            self.stdout.write(f"{node} is removed.")

    def _list(self, options: dict[str, Any]) -> None:
        for node in ApplicationEntity.objects.all():
            marks = [name for name, on in (("TLS", node.tls), ("inactive", not node.is_active)) if on]
            self.stdout.write(" ".join([str(node), *marks]))

    def _nodes(self, title: str) -> list[ApplicationEntity]:
        nodes = list(ApplicationEntity.objects.filter(title=title))
        if not nodes:
            raise CommandError(f"There is no node of the title {title}. `node list` shows them.")
        return nodes
