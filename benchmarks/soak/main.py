"""The command line and the order of things: start, load, kill, verify, tell."""

import argparse
import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.command_line import main_of
from benchmarks.soak import drift
from benchmarks.soak.figures import Figures, Sampler
from benchmarks.soak.images import Images
from benchmarks.soak.kills import SECONDS_ALLOWED, Doors, Killer
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.product import Product
from benchmarks.soak.readers import READERS
from benchmarks.soak.run import prepared
from benchmarks.soak.senders import Hospital, Modality, Sender, Storescu, Stow
from benchmarks.soak.verification import Verification
from benchmarks.soak.work import Work
from deploy.project import ROOT
from deploy.screen import Screen

BROKEN = Path(__file__).parent / "broken"
SENDERS: tuple[type[Sender], ...] = (Modality, Modality, Storescu, Storescu, Stow)
MOST_TOLD = 20


def options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long the load lasts (10)")
    parser.add_argument("--kills", type=int, default=0, help="how many processes are killed meanwhile (0)")
    parser.add_argument("--seed", type=int, default=1, help="of who is killed when (1)")
    parser.add_argument("--load", type=float, default=1.0, help="so many times the usual rates (1)")
    parser.add_argument("--data", type=Path, default=ROOT / "var" / "soak", help="where everything lies")
    parser.add_argument("--forge", type=int, default=0, help="write images into the ledger that were never sent")
    parser.add_argument("--broken", action="store_true", help="a product that acknowledges before it commits")
    return parser.parse_args(arguments)


def soak(chosen: argparse.Namespace) -> int:
    screen = Screen()
    folder: Path = chosen.data.resolve()
    product = prepared(folder, "ledger", "sending")
    if chosen.broken:
        os.environ["PYTHONPATH"] = str(BROKEN)
    for line in machine.describe(folder):
        screen.say(line)
    with screen.step("Starting"):
        product.start()
    try:
        screen.say(product.version() + (", BROKEN on purpose" if chosen.broken else ""))
        ledger, figures = Ledger(folder / "ledger"), Figures()
        run = secrets.randbelow(9_000_000_000) + 1_000_000_000
        with screen.step("Load"):
            end = loaded(chosen, product, ledger, figures, run=run, screen=screen)
        for number in range(chosen.forge):
            ledger.image(Images(run, 99 + number).next(), "forged")
        verification = Verification(product, ledger)
        with screen.step("Verifying the ledger"):
            verification.run()
    finally:
        with screen.step("Stopping"):
            product.stop()
    return told(figures, verification, ledger, end, screen)


def loaded(
    chosen: argparse.Namespace, product: Product, ledger: Ledger, figures: Figures, *, run: int, screen: Screen
) -> float:
    """Everything at once for as long as told, and until the last kill is over; when that was."""
    sending = product.folder.parent / "sending"
    doors = Doors(product, ledger, run, sending / "probe")
    seconds = chosen.minutes * 60
    killer = Killer(product, doors, figures, count=chosen.kills, seconds=seconds, seed=chosen.seed)
    sampler = Sampler(product, figures)
    with working(workers(chosen, product, ledger, figures, run=run, sending=sending)), running(sampler):
        killer.start()
        begin = time.monotonic()
        try:
            while time.monotonic() < figures.began + seconds or killer.is_alive():
                time.sleep(1)
                now = time.monotonic()
                if now < begin + 60 and (now < figures.began + seconds or killer.is_alive()):
                    continue
                screen.say(drift.minute(figures, begin, now, f"{ledger.images} images, {ledger.messages} AA"))
                begin = now
        finally:
            killer.stop()
        return time.monotonic()


def workers(
    chosen: argparse.Namespace, product: Product, ledger: Ledger, figures: Figures, *, run: int, sending: Path
) -> list[Work]:
    made: list[Work] = []
    for number, sender in enumerate(SENDERS):
        images = Images(run, number)
        made.append(sender(product, ledger, figures, chosen.load, images, sending / str(number)))
    made += [Hospital(product.hl7_port, ledger, figures, chosen.load, number) for number in range(2)]
    return made + [reader(product, ledger, figures, chosen.load) for reader in READERS]


@contextlib.contextmanager
def working(workers: list[Work]) -> Iterator[None]:
    """All of them; at the end until nothing is in hand."""
    for each in workers:
        each.start()
    try:
        yield
    finally:
        for each in workers:
            each.stop()
        for each in workers:
            each.join()


@contextlib.contextmanager
def running(sampler: Sampler) -> Iterator[None]:
    sampler.start()
    try:
        yield
    finally:
        sampler.stop()


def told(figures: Figures, verification: Verification, ledger: Ledger, end: float, screen: Screen) -> int:
    """The summary; 1 when anything is wrong."""
    wrong = list(verification.problems)
    for line in drift.summary(figures, end):
        screen.say(line)
    if figures.kills:
        screen.say(f"\n{'killed':16}{'times':>6}{'median back':>14}{'slowest':>10}")
        for victim in dict.fromkeys(each.victim for each in figures.kills):
            backs = [each.back for each in figures.kills if each.victim == victim]
            known = sorted(back for back in backs if back is not None)
            middle = f"{known[len(known) // 2]:.1f} s {known[-1]:>7.1f} s" if known else "never"
            screen.say(f"{victim:16}{len(backs):>6}{middle:>24}")
        late = [each for each in figures.kills if each.back is None or each.back > SECONDS_ALLOWED]
        wrong += [f"{each.victim} was killed and not back within {SECONDS_ALLOWED:g} s: {each}" for each in late]
    screen.say(f"\n{len(figures.faults)} requests failed and were sent again, of which by no kill's doing:")
    unexplained = figures.unexplained()
    for fault in unexplained[:MOST_TOLD]:
        screen.say(f"  at {fault.ended - figures.began:.0f} s {fault.kind}: {fault.text}")
    wrong += [f"{len(unexplained)} requests failed though nothing was killed"] if unexplained else []
    screen.say(f"\nLedger: {ledger.images} images and {ledger.messages} HL7 messages acknowledged")
    for fact in verification.facts:
        screen.say(f"  {fact}")
    for warning in drift.warnings(figures, end):
        screen.say(f"WARNING: {warning}")
    for problem in wrong:
        screen.say(f"WRONG: {problem}")
    screen.say(
        "\nThe promise was broken." if wrong else "\nEverything that was acknowledged is there, once and identical."
    )
    return 1 if wrong else 0


def main() -> int:
    return main_of(soak, options)
