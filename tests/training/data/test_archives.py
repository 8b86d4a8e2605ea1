import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from contract.errors import ArchiveInvalid
from tests.training.data.layouts import (
    decibels,
    numbers,
    s1_scene,
    s2_scene,
    write_catalogue,
    write_dfc2020,
    write_eurosat,
    write_sen12ms,
    write_ssl4eo,
)
from tests.training.data.layouts_reben import write_bands, write_flat
from training.data.archives import ArchiveSpec, open_archive
from training.data.check import check_archive
from training.data.dfc2020 import DFC2020
from training.data.eurosat import EuroSAT
from training.data.pairs import PairFolder
from training.data.reben import ReBEN
from training.data.sample import Archive, BandChoice
from training.data.sen12ms import SEN12MS
from training.data.ssl4eo import SSL4EO
from training.data.stac import StacArchive

BANDS = BandChoice()
PATCHES = ("ROIs1158_spring_1_p30", "ROIs1158_spring_2_p30", "ROIs2017_winter_1_p30")


def parsed(table: str, folder: Path) -> ArchiveSpec:
    """The one archive of a configuration."""
    document = tomllib.loads(f"[[data]]\nfolder = '{folder}'\n{table}")
    return TypeAdapter(tuple[ArchiveSpec, ...]).validate_python(document["data"])[0]


def write_pairs(folder: Path) -> Path:
    write_bands(folder / "lake" / "S2.tif", numbers("lake", 12))
    write_bands(folder / "lake" / "S1.tif", decibels("lake"))
    return folder


@pytest.mark.parametrize(
    ("write", "table", "kind"),
    [
        (write_flat, 'kind = "reben"', ReBEN),
        (lambda folder: write_sen12ms(folder, PATCHES), 'kind = "sen12ms"', SEN12MS),
        (lambda folder: write_dfc2020(folder, validation=1, test=1), 'kind = "dfc2020"', DFC2020),
        (lambda folder: write_ssl4eo(folder, "0000200", ["20200604"], ["20200607"]), 'kind = "ssl4eo"', SSL4EO),
        (write_eurosat, 'kind = "eurosat"', EuroSAT),
        (write_pairs, 'kind = "pairs"\n[data.layout]\ns2 = "{name}/S2.tif"\ns1 = "{name}/S1.tif"', PairFolder),
        (lambda folder: write_catalogue(folder, [s2_scene(), s1_scene()]), 'kind = "stac"', StacArchive),
    ],
)
def test_every_kind_of_archive_is_opened_from_a_table_and_is_sound(
    tmp_path: Path, write: Callable[[Path], Path], table: str, kind: type[Archive]
) -> None:
    archive = open_archive(parsed(table, write(tmp_path)), BANDS)
    assert isinstance(archive, kind)
    summary = check_archive(archive, BANDS)
    assert summary.samples_read == len(archive.entries) > 0
    assert summary.pairs == sum(entry.paired for entry in archive.entries)


@pytest.mark.parametrize("kind", ["reben", "sen12ms", "dfc2020", "ssl4eo", "eurosat", "stac", "pairs"])
def test_an_empty_folder_is_no_archive_of_any_kind(tmp_path: Path, kind: str) -> None:
    table = f'kind = "{kind}"' + ('\n[data.layout]\ns2 = "{name}.tif"' if kind == "pairs" else "")
    with pytest.raises(ArchiveInvalid) as caught:
        open_archive(parsed(table, tmp_path), BANDS)
    assert caught.value.folder == str(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveInvalid, match="it does not exist"):
        open_archive(parsed('kind = "eurosat"', tmp_path / "typo"), BANDS)


@pytest.mark.parametrize("table", ['kind = "landsat"', 'kind = "eurosat"\ncolour = "red"', 'kind = "pairs"', ""])
def test_a_table_that_makes_no_sense_is_refused(tmp_path: Path, table: str) -> None:
    with pytest.raises(ValidationError):
        parsed(table, tmp_path)


def test_only_the_places_asked_for_are_entries(tmp_path: Path) -> None:
    spec = parsed('kind = "sen12ms"\nplaces = ["ROIs1158_spring_2"]', write_sen12ms(tmp_path, PATCHES))
    assert [entry.name for entry in open_archive(spec, BANDS).entries] == ["ROIs1158_spring_2_p30"]


def test_only_the_splits_asked_for_are_entries(tmp_path: Path) -> None:
    spec = parsed('kind = "dfc2020"\nsplits = ["train"]', write_dfc2020(tmp_path, validation=2, test=3))
    assert [entry.split for entry in open_archive(spec, BANDS).entries] == ["train", "train"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ('places = ["ROIs1158_spring_1", "ROIs1158_spring_9"]', "none of its 3 samples is of ROIs1158_spring_9"),
        ('splits = ["val"]', "is of val"),
        ('splits = ["test"]\nplaces = ["ROIs1158_spring_1"]', "is of both these splits and these places"),
    ],
)
def test_a_split_or_place_without_samples_is_refused(tmp_path: Path, asked: str, said: str) -> None:
    write_sen12ms(tmp_path, PATCHES)
    (tmp_path / "SEN12MS_holdOutScenes.txt").write_text("ROIs1158_spring/s1_2\n")
    with pytest.raises(ArchiveInvalid, match=said):
        open_archive(parsed(f'kind = "sen12ms"\n{asked}', tmp_path), BANDS)
