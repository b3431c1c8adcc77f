import argparse
from typing import Any

from django.core.management.base import BaseCommand

from worklist.services.figures_rows import count_changes, rebuild


class Command(BaseCommand):
    help = "Bring the figures of the department up to date with what changed; with --rebuild count everything anew."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--rebuild", action="store_true", help="count every examination anew")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["rebuild"]:
            rebuild()
        self.stdout.write(f"{count_changes()} changes were followed.")
