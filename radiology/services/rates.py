"""How often somebody may call: token buckets in this process's memory.

Nothing is asked of the database or another process, because every frame of an image passes here. So each process of the
web server has buckets of its own, and a limit is at most as many times larger as there are processes.
"""

import math
import threading
import time
from dataclasses import dataclass

MOST_BUCKETS = 10_000
clock = time.monotonic


@dataclass(frozen=True)
class Allowance:
    """What one call left: of `limit` calls in `window` seconds so many `remaining`; `full_in`, `wait` in seconds."""

    is_granted: bool
    limit: int
    window: int
    remaining: int
    full_in: int
    wait: int

    @property
    def headers(self) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers names them."""
        return {
            "RateLimit-Policy": f'"calls";q={self.limit};w={self.window}',
            "RateLimit": f'"calls";r={self.remaining};t={self.full_in}',
        }


class Buckets:
    """One bucket a key: full at first, emptied by calls, filled again in `window` seconds."""

    def __init__(self, window: int) -> None:
        self.window = window
        self._kept: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, key: str, limit: int) -> Allowance:
        """Count one call, if it is granted."""
        now, pace = clock(), limit / self.window
        with self._lock:
            left, at = self._kept.get(key, (float(limit), now))
            left = min(float(limit), left + (now - at) * pace)
            is_granted = left >= 1.0
            left -= is_granted
            if key not in self._kept and len(self._kept) >= MOST_BUCKETS:
                self._kept.clear()
            self._kept[key] = (left, now)
        return Allowance(
            is_granted=is_granted,
            limit=limit,
            window=self.window,
            remaining=int(left),
            full_in=math.ceil((limit - left) / pace),
            wait=0 if is_granted else max(1, math.ceil((1.0 - left) / pace)),
        )

    def forget(self) -> None:
        """All buckets are full again."""
        with self._lock:
            self._kept.clear()


OF_CLIENTS = Buckets(60)
# Of an address: tokens that are none, and refusals that are written down.
WRONG_TOKENS = Buckets(300)
WRITTEN = Buckets(60)
# Of an address: letters that are verified, and codes that are of none.
VERIFIED = Buckets(60)
WRONG_SEALS = Buckets(300)
