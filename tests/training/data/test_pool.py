"""Samples of several archives as one list."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from contract.bands import Modality
from tests.training.examples import LEGEND, MemoryArchive, coloured, entry, observed
from training.data.pool import SamplePool
from training.data.sample import Entry, Sample


class Counting(MemoryArchive):
    """Counts how often each sample is read."""

    def __init__(self, samples: list[Sample], name: str) -> None:
        super().__init__(samples, name)
        self.reads: list[str] = []

    def read(self, entry: Entry) -> Sample:
        self.reads.append(entry.name)
        return super().read(entry)


@pytest.fixture
def archives() -> list[Counting]:
    samples = [coloured(index) for index in range(5)]
    return [Counting(samples[:3], "first"), Counting(samples[3:], "second")]


def test_samples_of_all_archives_are_in_one_list(archives: list[Counting]) -> None:
    pool = SamplePool.of(archives)
    assert len(pool) == 5
    assert [pool.read(index).entry for index in range(5)] == pool.entries
    assert [one.name for one in pool.entries] == [f"coloured-{index}" for index in range(5)]


def test_nothing_is_read_before_it_is_asked_for_and_then_once(archives: list[Counting]) -> None:
    pool = SamplePool.of(archives)
    assert pool.places == ("place-0", "place-1", "place-2")
    assert archives[0].reads == []
    for _ in range(2):
        pool.read(1)
    assert archives[0].reads == ["coloured-1"]


def test_a_selection_keeps_its_order(archives: list[Counting]) -> None:
    chosen = SamplePool.of(archives).select([4, 0])
    assert [sample.entry.name for sample in chosen] == ["coloured-4", "coloured-0"]


def test_pools_are_joined_in_order(archives: list[Counting]) -> None:
    joined = SamplePool.join([SamplePool.of(archives[1:]), SamplePool.of(archives[:1])])
    assert [one.name for one in joined.entries][:3] == ["coloured-3", "coloured-4", "coloured-0"]


def test_a_pool_can_be_sent_to_processes_that_load(archives: list[Counting]) -> None:
    pool = SamplePool.of(archives)
    pool.read(0)
    sent = pickle.loads(pickle.dumps(pool))
    assert [one.name for one in sent.entries] == [one.name for one in pool.entries]
    assert (sent.read(4).labels == pool.read(4).labels).all()


def test_archives_are_quoted_with_licence_and_number_of_samples(archives: list[Counting]) -> None:
    assert SamplePool.of(archives).archives == ("first (CC0-1.0), 3 samples", "second (CC0-1.0), 2 samples")


def test_labelled_pixels_are_counted_by_class(archives: list[Counting]) -> None:
    bare = Sample(entry=entry("bare"), observations={Modality.S2: observed(np.zeros((4, 3, 5)))})
    partly = replace(coloured(9), entry=entry("partly"))
    partly.labels[:4] = 0
    partly.labels[4:6] = 95
    pool = SamplePool.of([*archives, MemoryArchive([bare, partly])])
    labels = np.concatenate([sample.labels.ravel() for sample in pool if sample.labels is not None])
    assert pool.class_pixels(LEGEND).tolist() == [(labels == value).sum() for value in (10, 40, 80)]


def test_a_pool_is_parted_into_the_named_samples_and_the_others(archives: list[Counting]) -> None:
    pool = SamplePool.of(archives)
    inside, outside = pool.parted(pool.entries[1:3])
    assert [one.name for one in inside.entries] == [one.name for one in pool.entries[1:3]]
    assert [one.name for one in outside.entries] == [one.name for one in (pool.entries[:1] + pool.entries[3:])]
