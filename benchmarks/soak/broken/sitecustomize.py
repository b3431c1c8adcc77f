"""Python runs this first in every process of a product that is broken on purpose (`make soak ARGS=--broken`).

Its C-STORE acknowledges an object before it is committed, as a careless archive would: what a process still
holds when it is killed is lost. The product itself knows nothing of this; a soak that passes here proves nothing.
"""

import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

BROKEN_MODULE = "pacs.dimse.storage"
LATE_SECONDS = 2.0


def acknowledge_first(module: ModuleType) -> None:
    """Have `store_instance`, as the C-STORE service knows it, promise at once and keep the promise later."""
    keep = module.store_instance

    def keep_late(received: Any) -> None:
        from django.db import connections

        try:
            keep(received=received)
        finally:
            connections.close_all()

    def promise(*, received: Any) -> Any:
        threading.Timer(LATE_SECONDS, keep_late, args=(received,)).start()
        return module.Stored(
            received.sop_class_uid,
            received.sop_instance_uid,
            received.series_instance_uid,
            received.study_instance_uid,
            module.StoreOutcome.STORED,
        )

    module.store_instance = promise  # type: ignore[attr-defined]
    module.may_wait = lambda received: False  # type: ignore[attr-defined]


class Careless(Loader):
    """Loads a module as usual, then breaks it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        acknowledge_first(module)


class Finder(MetaPathFinder):
    """Finds the one module that is broken, as it lies there."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == BROKEN_MODULE else None
        if spec is not None and spec.loader is not None:
            spec.loader = Careless(spec.loader)
        return spec


sys.meta_path.insert(0, Finder())
