"""Random chips: which sample, where, and that the ground is what they say."""

from collections import Counter

import numpy as np
import pytest
import torch

from contract.bands import Modality
from contract.errors import SampleInvalid
from tests.training.examples import LEGEND, entry, observed, pool
from training.data.chips import ChipDataset, Chips, Cut
from training.data.pool import SamplePool
from training.data.sample import BandChoice, Observation, Sample
from training.losses.classification import IGNORED

SHAPE = (46, 60)
VALUES = np.array([10, 40, 80, 95, 0], np.uint8)
"""The classes of `LEGEND`, a class of another one, and no label."""


def place_code(index: int) -> np.ndarray:
    """(rows, columns): a number that tells sample, row and column."""
    rows, columns = np.indices(SHAPE)
    return index * 10_000.0 + rows * 100 + columns


def coded(index: int, *modalities: Modality, shape: tuple[int, int] = SHAPE) -> Sample:
    """A sample whose values are positions: S2 as they are, S1 negative; invalid where the code is a multiple of 7."""
    code = place_code(index)[: shape[0], : shape[1]]
    valid = code % 7 != 0
    bands = {Modality.S2: np.stack([code] * 4), Modality.S1: np.stack([-code] * 2)}
    return Sample(
        entry=entry(f"coded-{index}"),
        observations={
            modality: Observation(values=(bands[modality] * valid).astype(np.float32), valid=valid)
            for modality in modalities or tuple(Modality)
        },
        labels=VALUES[code.astype(int) % len(VALUES)],
    )


def dataset(members: SamplePool, cut: Cut, *, seed: int = 0, length: int = 40) -> ChipDataset:
    return ChipDataset(members, cut, bands=BandChoice(), legend=LEGEND, seed=seed, length=length)


INDEPENDENT = Cut(chip_px=16, reach_px=12, pairs="independent")


def test_every_sample_comes_once_in_each_round() -> None:
    chips = dataset(pool([coded(index) for index in range(5)]), Cut(chip_px=16))
    images = [int(chips[item]["image"]) for item in range(15)]
    for round_ in range(3):
        assert sorted(images[5 * round_ : 5 * round_ + 5]) == [0, 1, 2, 3, 4]
    assert images[:5] != images[5:10] or images[5:10] != images[10:]


def test_an_item_does_not_depend_on_those_before_it() -> None:
    members = pool([coded(index) for index in range(3)])
    forwards, alone = dataset(members, INDEPENDENT), dataset(members, INDEPENDENT)
    for item in range(8):
        before = forwards[item]
    assert all(torch.equal(before[name], value) for name, value in alone[7].items())


def test_another_seed_gives_other_chips() -> None:
    members = pool([coded(index) for index in range(3)])
    first, second = (
        torch.stack([dataset(members, INDEPENDENT, seed=seed)[item]["offsets"] for item in range(6)]) for seed in (0, 1)
    )
    assert not torch.equal(first, second)


@pytest.mark.parametrize("pairs", ["independent", "common"])
def test_chips_hold_the_ground_at_their_offsets(pairs: str) -> None:
    chips = dataset(pool([coded(index) for index in range(3)]), Cut(chip_px=16, reach_px=12, pairs=pairs))
    for item in range(12):
        chip = chips[item]
        code = place_code(int(chip["image"]))
        for (row, column), sign, name in zip(chip["offsets"].tolist(), (1, -1), ("s2", "s1"), strict=True):
            ground = code[row : row + 16, column : column + 16]
            valid = ground % 7 != 0
            assert (chip[f"{name}_valid"].numpy() == valid).all()
            assert (chip[name].numpy() == sign * ground * valid).all()
        row, column = chip["offsets"][0].tolist()
        classes = [0, 1, 2, IGNORED, IGNORED]
        labels = code[row : row + 16, column : column + 16].astype(int) % 5
        assert (chip["target"].numpy() == np.array(classes)[labels]).all()


def test_offsets_are_multiples_of_the_stride_and_reach_every_border() -> None:
    chips = dataset(pool([coded(0)]), Cut(chip_px=16, reach_px=4, pairs="independent"))
    offsets = torch.stack([chips[item]["offsets"] for item in range(1000)])
    assert not (offsets % 2).any()
    assert offsets.amin(dim=0).tolist() == [[0, 0], [0, 0]]
    assert offsets.amax(dim=0).tolist() == [[30, 44], [30, 44]]


def test_independent_chips_of_a_pair_lie_apart_by_the_reach_at_most() -> None:
    chips = dataset(pool([coded(0)]), INDEPENDENT)
    apart = torch.stack([chips[item]["offsets"].diff(dim=0)[0] for item in range(300)])
    assert apart.abs().max() == 12
    assert len(apart.unique(dim=0)) > 100


def test_common_chips_of_a_pair_are_of_the_same_ground() -> None:
    chips = dataset(pool([coded(0)]), Cut(chip_px=16, reach_px=12, pairs="common"))
    for item in range(20):
        s2, s1 = chips[item]["offsets"]
        assert torch.equal(s2, s1)


def test_a_sensor_that_a_sample_lacks_is_nowhere_valid() -> None:
    chip = dataset(pool([coded(0, Modality.S1)]), INDEPENDENT)[0]
    assert chip["s2"].shape == (4, 16, 16)
    assert not chip["s2"].any()
    assert not chip["s2_valid"].any()
    assert chip["s1_valid"].any()


def test_a_sample_without_labels_has_no_target() -> None:
    unlabelled = Sample(entry=entry("bare"), observations={Modality.S2: observed(np.zeros((4, 20, 24)))})
    assert (dataset(pool([unlabelled]), Cut(chip_px=16))[0]["target"] == IGNORED).all()


def test_a_sample_smaller_than_a_chip_is_named() -> None:
    chips = dataset(pool([coded(3, shape=(20, 14))]), Cut(chip_px=16))
    with pytest.raises(SampleInvalid, match=r"coded-3.*20 x 14 px.*16 px of a chip"):
        chips[0]


def test_chips_of_a_batch_are_stacked_item_by_item() -> None:
    chips = dataset(pool([coded(index) for index in range(4)]), INDEPENDENT, length=4)
    batch = next(iter(torch.utils.data.DataLoader(chips, batch_size=4)))
    made = Chips.of(batch)
    assert made.inputs.s2.shape == (4, 4, 16, 16)
    assert made.offsets.shape == (4, 2, 2)
    assert Counter(made.image.tolist()) == Counter(range(4))
    assert torch.equal(made.target[2], chips[2]["target"])
