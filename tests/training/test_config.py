"""Configurations: what a file says is what is trained, and what is wrong with it is said."""

from pathlib import Path

import pytest

from contract.errors import ConfigInvalid
from training.config import TrainingConfig, read_config
from training.data.sample import BandChoice

WHOLE = """
name = "mine"
seed = 4
classes = [10, 80]
bands = { s2 = ["B04", "B08"], s1 = ["VH"] }
[[labelled]]
kind = "reben"
folder = "archive"
splits = ["train"]
[[unlabelled]]
kind = "stac"
folder = "/elsewhere/catalogue"
[model]
latent = 12
s1 = { widths = [8, 8, 8] }
[pretrain]
chips = 3
optimiser = { steps = 7 }
augment = { cloud_share = 0.25 }
[probe]
class_weights = "inverse"
[calibrate]
folds = 3
[hardware]
accelerator = "cpu"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_says_everything_about_a_model(path: Path) -> None:
    path.write_text(WHOLE)
    config = read_config(path)
    assert (config.name, config.seed, config.bands) == ("mine", 4, BandChoice(s2=("B04", "B08"), s1=("VH",)))
    assert [entry.name for entry in config.legend.classes] == ["Tree cover", "Permanent water bodies"]
    assert (config.model.latent, config.model.s1.widths) == (12, (8, 8, 8))
    assert (config.pretrain.chips, config.pretrain.optimiser.steps) == (3, 7)
    assert config.pretrain.augment.cloud_share == 0.25
    assert (config.probe.class_weights, config.calibrate.folds) == ("inverse", 3)


def test_what_a_file_does_not_say_has_its_default(path: Path) -> None:
    path.write_text('name = "mine"')
    assert read_config(path) == TrainingConfig(name="mine")


def test_folders_are_relative_to_the_file(path: Path) -> None:
    path.write_text(WHOLE)
    config = read_config(path)
    assert config.labelled[0].folder == path.parent / "archive"
    assert config.unlabelled[0].folder == Path("/elsewhere/catalogue")


def test_or_to_another_folder(path: Path, tmp_path: Path) -> None:
    path.write_text(WHOLE)
    assert read_config(path, beside=tmp_path / "here").labelled[0].folder == tmp_path / "here" / "archive"


def test_a_configuration_survives_the_checkpoint(path: Path) -> None:
    path.write_text(WHOLE)
    config = read_config(path)
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("latant = 3", "latant", "3"),
        ("[model]\nlatant = 3", "model.latant", "3"),
        ("[probe.optimiser]\nstep = 3", "probe.optimiser.step", "3"),
        ("[model]\nlatent = 1", "model.latent", "1"),
        ("[model.s2]\nwidths = [8, 8]", "model.s2.widths", "[8, 8]"),
        ("[model.s2]\nbackbone = 'vgg'", "model.s2.backbone", "'vgg'"),
        ("[pretrain]\nchip_px = 50", "pretrain.chip_px", "50"),
        ("[pretrain]\ntemperature = 0", "pretrain.temperature", "0"),
        ("[pretrain.augment]\ncloud_share = 1.5", "pretrain.augment.cloud_share", "1.5"),
        ("[hardware]\nprecision = '16'", "hardware.precision", "'16'"),
        ("classes = [10, 7]", "classes", "[10, 7]"),
        ("classes = [10, 10]", "classes", "[10, 10]"),
        ("classes = [10]", "classes", "[10]"),
        ("bands = { s2 = ['B99'] }", "bands", "B99"),
        ("bands = { s2 = ['VV'] }", "bands", "VV"),
        ("bands = { s1 = [] }", "bands", "s1 of ()"),
        ("bands = { s2 = ['B02', 'B02'] }", "bands", "'B02', 'B02'"),
        ("bands = { s3 = ['B02'] }", "bands.s3", "B02"),
        ("labelled = 3", "labelled", "3"),
        ("[labelled]\nkind = 'reben'", "labelled", "tuple"),
        ("[[labelled]]\nkind = 'bigearth'\nfolder = 'x'", "labelled.0", "bigearth"),
        ("[[labelled]]\nkind = 'reben'\nfolder = 'x'\nsplit = ['train']", "split", "train"),
    ],
)
def test_what_is_wrong_is_named_with_its_value(path: Path, line: str, key: str, value: str) -> None:
    said = refused(path, f'name = "mine"\n{line}\n')
    assert key in said
    assert value in said


def test_every_fault_is_named_at_once(path: Path) -> None:
    said = refused(path, 'name = "Not So"\nseed = -1\n')
    assert "name" in said
    assert "'Not So'" in said
    assert "seed" in said


def test_chips_that_the_coarsest_stride_does_not_divide_are_refused(path: Path) -> None:
    said = refused(path, 'name = "deep"\nmodel = { s1 = { backbone = "resnet50" } }\nprobe = { chip_px = 72 }\n')
    assert "probe.chip_px 72 is no multiple of the model's 32 px" in said


def test_a_file_that_is_missing_or_no_toml_is_named(path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"mine\.toml.*No such file"):
        read_config(path)
    assert "line 1" in refused(path, "name: mine")
