"""The configurations that come with landsigma."""

import tomllib
from pathlib import Path

import pytest

from contract.errors import ConfigInvalid
from training.config import TrainingConfig, read_config
from training.readiness import check_all
from training.recipes import RECIPES, SHELF, find_config

OF_THE_COMPACT_BACKBONE = {"widths", "blocks"}


def leaves(table: dict[str, object], path: str = "") -> set[str]:
    """Dotted names of all values of a document, archives aside."""
    found = set()
    for name, value in table.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{path}{name}.")
        elif name not in {"labelled", "unlabelled"}:
            found.add(f"{path}{name}")
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_everything_that_can_be_set(name: str) -> None:
    document = tomllib.loads((SHELF / f"{name}.toml").read_text())
    settable = leaves(TrainingConfig(name="all").model_dump())
    if document["model"]["s2"]["backbone"] == "resnet50":
        settable = {leaf for leaf in settable if leaf.rpartition(".")[2] not in OF_THE_COMPACT_BACKBONE}
    assert leaves(document) == settable
    assert document["name"] == name


def test_the_dense_recipe_says_what_holds_without_it() -> None:
    dense = read_config(SHELF / "vdual-simclr.toml")
    assert dense == TrainingConfig(name=dense.name, labelled=dense.labelled)


def test_recipes_differ_in_what_they_are_named_for() -> None:
    dense, vectors, patch = (read_config(SHELF / f"{name}.toml") for name in RECIPES)
    assert (dense.pretrain.level, dense.model.variational) == ("dense", True)
    assert (vectors.model.variational, vectors.pretrain.draws, vectors.pretrain.divergence_weight) == (False, 1, 0)
    assert (patch.pretrain.level, patch.model.s1.backbone, patch.model.variational) == ("patch", "resnet50", True)
    assert vectors.pretrain.augment == dense.pretrain.augment
    assert vectors.probe.optimiser == dense.probe.optimiser


def test_folders_are_relative_to_a_file_but_for_a_recipe_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/own.toml").write_text((SHELF / "vdual-simclr.toml").read_text())
    monkeypatch.chdir(tmp_path)
    assert find_config("mine/own.toml").labelled[0].folder == Path("mine/data/reben")
    assert find_config("vdual-simclr").labelled[0].folder == tmp_path / "data/reben"
    (tmp_path / "vdual-simclr").write_text((tmp_path / "mine/own.toml").read_text())
    assert find_config("vdual-simclr").labelled[0].folder == Path("data/reben")


def test_an_unknown_recipe_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigInvalid, match=r"vdual\.toml: neither .* vdual-simclr, dual-simclr, vdual-simclr-patch"):
        find_config("vdual.toml")


def test_the_development_configuration_opens_and_is_sound(shared: Path) -> None:
    config = read_config(SHELF / "development.toml")
    assert {
        spec.folder.resolve().is_relative_to(shared.resolve()) for spec in (*config.labelled, *config.unlabelled)
    } == {True}
    checked = check_all(config, lambda _name: lambda _done, _total: None)
    assert [(archive.summary.samples, archive.summary.pairs) for archive in checked] == [
        (53, 53),  # reben, its training side
        (3, 3),  # terramind
        (1, 1),  # spain
        (2, 2),  # sen12ms, clear
        (2, 2),  # and cloudy
        (2, 1),  # ssl4eo: the other Sentinel-1 image was taken three weeks later
        (8, 8),  # savanna: four dates in two parts
    ]
    assert set(checked[0].summary.labels) == {10, 20, 30, 40, 50, 60, 80, 90}
