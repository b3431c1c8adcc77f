import argparse
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from pacs.dimse import scu
from pacs.models import ApplicationEntity
from radiology.errors import Unreachable


class Command(BaseCommand):
    help = "Register, verify, list and remove DICOM nodes."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="register a node, or change its TLS setting")
        add.add_argument("title")
        add.add_argument("host")
        add.add_argument("port", type=int)
        add.add_argument("--tls", action="store_true", help="connect to it with TLS")
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
        try:
            node.full_clean()
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from None
        node.save()
        self.stdout.write(str(node))

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
