"""Where the fragments of encapsulated pixel data are: found once, remembered for the objects read last."""

import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator

Extent = tuple[int, int]


class FragmentIndex:
    """Where the items of one object's pixel data are: 16 bytes each."""

    def __init__(self) -> None:
        self._offsets = array("Q")
        self._lengths = array("Q")

    def append(self, item: Extent) -> None:
        self._offsets.append(item[0])
        self._lengths.append(item[1])

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, at: int) -> Extent:
        return self._offsets[at], self._lengths[at]

    def __iter__(self) -> Iterator[Extent]:
        return zip(self._offsets, self._lengths, strict=True)


class _Recent:
    """The indexes of the objects that were last read: files in the archive never change."""

    SIZE = 8

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, str], FragmentIndex] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, str]) -> FragmentIndex | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[int, str], index: FragmentIndex) -> None:
        with self._lock:
            self._kept[key] = index
            while len(self._kept) > self.SIZE:
                self._kept.popitem(last=False)


recent = _Recent()
