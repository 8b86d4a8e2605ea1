"""SamplePool: samples of several archives as one sequence, kept in memory as far as they fit."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

from contract.legend import Legend
from training.data.sample import Archive, Entry, Sample

CACHED_SAMPLES: Final = 4096
"""Samples kept in memory by each process: about 1.4 GiB of 120 px patches in six bands."""


class SamplePool(Sequence[Sample]):
    """Samples of any archives, each read when its turn comes."""

    def __init__(self, members: Iterable[tuple[Archive, Entry]]) -> None:
        self._members = list(members)
        self.read = lru_cache(CACHED_SAMPLES)(self._read)

    @classmethod
    def of(cls, archives: Sequence[Archive]) -> "SamplePool":
        """All entries of these archives."""
        return cls((archive, entry) for archive in archives for entry in archive.entries)

    @classmethod
    def join(cls, pools: Iterable["SamplePool"]) -> "SamplePool":
        """The samples of several pools, in order."""
        return cls(member for pool in pools for member in pool._members)  # noqa: SLF001  of the same class

    def __len__(self) -> int:
        return len(self._members)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "SamplePool": ...
    def __getitem__(self, index: int | slice) -> "Sample | SamplePool":
        if isinstance(index, slice):
            return SamplePool(self._members[index])
        return self.read(range(len(self))[index])

    def __reduce__(self) -> tuple[type["SamplePool"], tuple[list[tuple[Archive, Entry]]]]:
        # Caches cannot be sent to processes that load; each has its own.
        return SamplePool, (self._members,)

    @property
    def entries(self) -> list[Entry]:
        """In the order of `read`."""
        return [entry for _, entry in self._members]

    @property
    def archives(self) -> tuple[str, ...]:
        """Name, licence and number of samples of each archive, as a model card quotes them."""
        counts = Counter((archive.name, archive.licence) for archive, _ in self._members)
        return tuple(f"{name} ({licence}), {count} samples" for (name, licence), count in counts.items())

    @property
    def places(self) -> tuple[str, ...]:
        """Each once, sorted."""
        return tuple(sorted({entry.place for entry in self.entries}))

    def select(self, indices: Iterable[int]) -> "SamplePool":
        """A pool of some of the samples."""
        return SamplePool(self._members[index] for index in indices)

    def parted(self, entries: Iterable[Entry]) -> tuple["SamplePool", "SamplePool"]:
        """The samples of these entries, and the others."""
        chosen = set(entries)
        inside = [index for index, entry in enumerate(self.entries) if entry in chosen]
        outside = [index for index, entry in enumerate(self.entries) if entry not in chosen]
        return self.select(inside), self.select(outside)

    def paired(self) -> "SamplePool":
        """The samples with both sensors."""
        return self.select(index for index, entry in enumerate(self.entries) if entry.paired)

    def class_pixels(self, legend: Legend) -> NDArray[np.int64]:
        """Labelled pixels of each class of the legend, (K,)."""
        counts = np.zeros(256, np.int64)
        for sample in self:
            if sample.labels is not None:
                counts += np.bincount(sample.labels.ravel(), minlength=256)
        return counts[[entry.value for entry in legend.classes]]

    def _read(self, index: int) -> Sample:
        archive, entry = self._members[index]
        return archive.read(entry)
