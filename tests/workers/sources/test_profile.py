"""Sources by name, by address and by profile."""

from pathlib import Path

import pytest

import workers.sources
from contract.bands import SCL, SENTINEL2_BANDS, Modality, Unit
from contract.errors import SourceUnusable
from tests.workers.sources.examples import request, s1_item, s2_item, write_items
from workers.sources import find_scenes
from workers.sources.profile import BUILT_IN, profile_of


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_sources_name_an_asset_for_every_optical_band(name: str) -> None:
    assert set(profile_of(name).s2.assets) == {band.name for band in SENTINEL2_BANDS} | {SCL}


def test_the_planetary_computer_is_signed_by_name_and_by_address() -> None:
    named = profile_of("planetary-computer")
    assert named.signing == "planetary-computer"
    assert named.s1.unit is Unit.LINEAR_POWER
    assert profile_of("https://planetarycomputer.microsoft.com/api/stac/v1/") == named
    assert profile_of("https://earth-search.aws.element84.com/v1") == profile_of("earth-search")


def test_an_address_is_taken_to_follow_the_planetary_computers_names() -> None:
    other = profile_of("https://stac.example.org/v1")
    assert (other.catalogue, other.signing) == ("https://stac.example.org/v1", None)
    assert other.s2 == profile_of("planetary-computer").s2


def test_the_example_in_the_documentation_is_a_profile(tmp_path: Path) -> None:
    lines = workers.sources.__doc__.splitlines()
    example = [line.removeprefix("    ") for line in lines if line.startswith("    ")]
    path = tmp_path / "example.toml"
    path.write_text("\n".join(example))
    profile = profile_of(str(path))
    assert (profile.s2.assets["B08"], profile.s1.assets["VH"]) == ("nir", "vh")


def test_a_profile_renames_bands_and_starts_at_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_items(tmp_path, s2_item(assets=("blue", "scl")) | {"collection": "mine"})
    (tmp_path / "mine.toml").write_text(
        'catalogue = "items.json"\n[s2]\ncollections = ["mine"]\n[s2.assets]\nB02 = "blue"\nSCL = "scl"\n'
    )
    monkeypatch.chdir(tmp_path)
    (scene,) = find_scenes(request("mine.toml"), bands={Modality.S2: ("B02",)}).scenes
    assert [(asset.band, asset.href.rpartition("/")[2]) for asset in scene.assets] == [
        ("B02", "blue.tif"),
        ("SCL", "scl.tif"),
    ]


def test_items_in_no_collection_are_told_apart_by_platform(tmp_path: Path) -> None:
    loose = [item | {"collection": None} for item in (s2_item(), s1_item())]
    bands = {Modality.S2: ("B02",), Modality.S1: ("VV",)}
    found = find_scenes(request(write_items(tmp_path, *loose)), bands=bands)
    assert [(scene.id, scene.modality) for scene in found.scenes] == [("optical", "s2"), ("radar", "s1")]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("catalogue = ", "cannot be read"),
        ("[s2]\ncollections = ['a']\n[s2.assets]\n", "catalogue: Field required"),
        ("catalogue = 'x'\ncatalog = 'y'", "catalog: Extra inputs"),
        ("catalogue = 'x'\n[s2]\ncollections = []\n[s2.assets]\n", "s2.collections"),
        ("catalogue = 'x'\n[s2]\ncollections = ['a']\n[s2.assets]\nblue = 'B02'", "blue: no band of Sentinel-2"),
        ("catalogue = 'x'\n[s1]\ncollections = ['a']\n[s1.assets]\nSCL = 'scl'", "SCL: no band of Sentinel-1"),
        ("catalogue = 'x'\n[s1]\nunit = 'amplitude'\ncollections = ['a']\n[s1.assets]\n", "s1.unit"),
    ],
)
def test_mistakes_in_a_profile_are_named(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(content)
    with pytest.raises(SourceUnusable, match=complaint):
        profile_of(str(path))


@pytest.mark.parametrize("source", ["sentinel-hub", "missing.toml", "missing/catalog.json"])
def test_an_unknown_source_is_refused_with_what_there_is(source: str) -> None:
    with pytest.raises(SourceUnusable, match=r"none of planetary-computer, earth-search|No such file"):
        profile_of(source)


def test_a_profile_without_a_sensor_says_so(tmp_path: Path) -> None:
    (tmp_path / "radar.toml").write_text("catalogue = 'x'\n[s1]\ncollections = ['a']\n[s1.assets]\nVV = 'vv'")
    with pytest.raises(SourceUnusable, match=r"its profile has no Sentinel-2\. Ask for s1 alone"):
        find_scenes(request(tmp_path / "radar.toml"), bands={Modality.S2: ("B02",)})
