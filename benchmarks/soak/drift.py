"""What grew: the first tenth of a run beside its last, and what rises from fifth to fifth."""

import itertools
from collections.abc import Sequence

from benchmarks.report import written
from benchmarks.soak.figures import MEGABYTE, Figures, Sample, median, percentile

# Below these, growth is no leak's: allocators, pools and caches fill up.
LEAST_GROWTH = {"PSS": 16 * MEGABYTE, "RSS": 16 * MEGABYTE, "handles": 10.0, "threads": 5.0, "files": 20.0}
LEAST_SHARE = 1.1
LATENCY_SHARE, LATENCY_SECONDS = 1.5, 0.05
FIFTHS = 5
FEWEST_SAMPLES = 25


def minute(figures: Figures, begin: float, end: float, ledger: str) -> str:
    """One line about a minute."""
    last = figures.samples[-1].values if figures.samples else {}
    times = {kind: taken for kind, taken in figures.between(begin, end).items() if taken}
    kills = [each for each in list(figures.kills) if begin <= each.ended < end]
    faults = sum(begin <= each.ended < end for each in list(figures.faults))
    parts = [
        f"{(end - figures.began) / 60:5.1f} min",
        ledger,
        f"{last.get('all PSS', 0) / MEGABYTE:.0f} MB",
        f"{last.get('database connections', 0):.0f} db",
        f"incoming {last.get('incoming files', 0):.0f}",
        f"{faults} faults",
        "p50/p95 ms "
        + ", ".join(f"{kind} {_milli(median(v))}/{_milli(percentile(v, 0.95))}" for kind, v in times.items()),
    ]
    if kills:
        parts.append("killed " + ", ".join(f"{each.victim} ({_back(each.back)})" for each in kills))
    return " | ".join(parts)


def _milli(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def _back(seconds: float | None) -> str:
    return "NEVER BACK" if seconds is None else f"{seconds:.1f} s"


def summary(figures: Figures, end: float) -> list[str]:
    """Tables of drift."""
    tenth = (end - figures.began) / 10
    early, late = figures.between(figures.began, figures.began + tenth), figures.between(end - tenth, end)
    lines = ["", f"{'latency':24}{'first tenth: n, median, p95':>36}{'last tenth':>36}"]
    for kind in sorted(early):
        lines.append(f"{kind:24}{_latency(early[kind]):>36}{_latency(late[kind]):>36}")
    first, last = _tenths(figures.samples)
    lines += ["", f"{'held':24}{'first tenth':>16}{'last tenth':>16}{'highest':>16}"]
    for name in sorted({name for each in figures.samples for name in each.values}):
        highest = max(each.values.get(name, 0) for each in figures.samples)
        lines.append(f"{name:24}{_value(name, first):>16}{_value(name, last):>16}{_text(name, highest):>16}")
    return lines


def _latency(taken: Sequence[float]) -> str:
    return f"{len(taken)}, {written(median(taken))}, {written(percentile(taken, 0.95))}" if taken else "none"


def _tenths(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    count = max(1, len(samples) // 10)
    return samples[:count], samples[-count:]


def _value(name: str, samples: Sequence[Sample]) -> str:
    return _text(name, median(each.values.get(name, 0) for each in samples))


def _text(name: str, value: float) -> str:
    return f"{value / MEGABYTE:.0f} MB" if name.endswith(("PSS", "RSS")) else f"{value:.0f}"


def warnings(figures: Figures, end: float) -> list[str]:
    """What grows steadily, and what became slow."""
    told = []
    for name in sorted({name for each in figures.samples for name in each.values}):
        if grows(name, [each.values.get(name, 0) for each in figures.samples]):
            told.append(f"{name} grows from fifth to fifth of the run")
    tenth = (end - figures.began) / 10
    early, late = figures.between(figures.began, figures.began + tenth), figures.between(end - tenth, end)
    for kind, taken in early.items():
        before, after = median(taken), median(late[kind])
        if taken and late[kind] and after > max(before * LATENCY_SHARE, before + LATENCY_SECONDS):
            told.append(f"{kind} became slow: {written(before)} in the first tenth, {written(after)} in the last")
    return told


def grows(name: str, values: Sequence[float]) -> bool:
    """Whether, after a tenth to warm up, the medians of the fifths rise each time, beyond what fills up by itself."""
    values = values[len(values) // 10 :]
    if len(values) < FEWEST_SAMPLES:
        return False
    size = len(values) // FIFTHS
    medians = [median(values[place * size : (place + 1) * size]) for place in range(FIFTHS)]
    least = next((least for suffix, least in LEAST_GROWTH.items() if name.endswith(suffix)), 10.0)
    rises = all(after > before for before, after in itertools.pairwise(medians))
    return rises and medians[-1] > medians[0] * LEAST_SHARE and medians[-1] - medians[0] > least
