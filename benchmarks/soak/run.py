"""What every run against the whole product begins with: a data folder of its own."""

import shutil
from pathlib import Path

from benchmarks.servers import free_port
from benchmarks.soak.product import Product
from deploy import processes
from deploy.screen import SetUpFailed

KEPT = {"www", "ohif", "static", "static.stamp"}  # of SINAR_DATA: what the next start would make again


def prepared(folder: Path, *others: str) -> Product:
    """A data folder without anything but what the set-up makes; `others` are the run's own parts of it."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # as root, the database runs as a user of its own that passes through
    product = Product(folder / "sinar", receiver_port=free_port())
    product.folder.mkdir(exist_ok=True, mode=0o711)
    if processes.of(product.folder):
        raise SetUpFailed(f"Another run works in {folder}: wait for it, or choose another folder with --data.")
    for path in [*product.folder.iterdir(), *(folder / other for other in others)]:
        if path.name not in KEPT and path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return product
