"""Checkpoints: the same model comes back, or it is said what is wrong."""

from pathlib import Path

import pytest
import torch

from contract.bands import Modality
from contract.bundle import Calibration, ConformalThreshold, Temperature
from contract.errors import CheckpointInvalid
from tests.training.examples import STATISTICS, inputs, model_config, worn
from training.checkpoint import Provenance, load_encoder, load_model, save
from training.config import TrainingConfig
from training.models.encoder import Encoder
from training.models.latents import Latents
from training.models.mapping import MappingModel

CONFIG = TrainingConfig(name="tiny", classes=(10, 40, 80), model=model_config(blocks=(0, 1, 0)))
CALIBRATION = Calibration(
    temperature=Temperature(both=1.5, s2_alone=2.5, s1_alone=1.2),
    variance_scale=0.5,
    expert_weights={Modality.S2: 1.25, Modality.S1: 0.75},
    conformal=(ConformalThreshold(alpha=0.1, method="lac", threshold=0.8, calibration_blocks=7),),
)
PROVENANCE = Provenance(config=CONFIG, data=("invented (CC0-1.0), 3 samples",), places=("T34VER", "T35VLC"))


def encoder() -> Encoder:
    torch.manual_seed(0)
    return worn(Encoder(CONFIG.bands, CONFIG.model, STATISTICS))


def model() -> MappingModel:
    return worn(MappingModel(encoder(), CONFIG.legend)).eval()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


@torch.no_grad()
def test_an_encoder_comes_back_with_its_statistics_and_what_it_has_seen(path: Path) -> None:
    kept = encoder().eval()
    save(path, kept, PROVENANCE)
    loaded, provenance = load_encoder(path)
    made, expected = (each.eval()(inputs(1, 24, 40), torch.ones(2)) for each in (loaded, kept))
    assert torch.equal(made.mean, expected.mean)
    assert torch.equal(made.log_variance, expected.log_variance)
    assert provenance == PROVENANCE


@torch.no_grad()
def test_a_calibrated_model_comes_back_ready_to_answer(path: Path) -> None:
    kept = model()
    kept.calibrate(CALIBRATION)
    save(path, kept, PROVENANCE.model_copy(update={"calibration": CALIBRATION}))
    loaded, provenance = load_model(path)
    made, expected = loaded(inputs(1, 24, 40)), kept(inputs(1, 24, 40))
    assert torch.equal(made.probabilities, expected.probabilities)
    assert torch.equal(made.embedding, expected.embedding)
    assert provenance.calibration == CALIBRATION
    assert loaded.legend == CONFIG.legend


@torch.no_grad()
def test_a_model_comes_back_with_its_doubt_and_where_its_training_ground_lies(path: Path) -> None:
    kept = model()
    kept.doubt, kept.latents = kept.new_doubt(), Latents(CONFIG.model.latent)
    kept.latents.fit(torch.arange(6).double(), torch.diag(torch.arange(1, 7)).double())
    save(path, kept, PROVENANCE)
    made, expected = load_model(path)[0](inputs(1, 24, 40)), kept(inputs(1, 24, 40))
    assert torch.equal(made.doubt, expected.doubt)
    assert torch.equal(made.ood_distance, expected.ood_distance)


@pytest.mark.parametrize("part", ["doubt", "latents"])
def test_a_model_without_one_of_them_comes_back_without_it(path: Path, part: str) -> None:
    kept = model()
    kept.doubt, kept.latents = kept.new_doubt(), Latents(CONFIG.model.latent)
    setattr(kept, part, None)
    save(path, kept, PROVENANCE)
    loaded, _ = load_model(path)
    assert [name for name in ("doubt", "latents") if getattr(loaded, name) is None] == [part]


def test_a_file_of_another_kind_is_named(path: Path) -> None:
    save(path, encoder(), PROVENANCE)
    with pytest.raises(CheckpointInvalid, match="holds a Encoder of version 1; need a MappingModel of version 1"):
        load_model(path)
    save(path, model(), PROVENANCE)
    with pytest.raises(CheckpointInvalid, match="need a Encoder"):
        load_encoder(path)


def test_a_missing_file_says_what_to_do(path: Path) -> None:
    with pytest.raises(CheckpointInvalid, match=r"model\.pt: no such file; run the stage before this one"):
        load_model(path)


@pytest.mark.parametrize("kept", [0, 40, -1000], ids=["empty", "its first bytes", "all but its last bytes"])
def test_a_truncated_file_is_refused(path: Path, kept: int) -> None:
    save(path, model(), PROVENANCE)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointInvalid, match="not to its end"):
        load_model(path)


@pytest.mark.parametrize("content", [b"name = 'tiny'\n", b"\x80\x04K\x01.", b"hello"], ids=["TOML", "pickle", "text"])
def test_a_file_that_is_no_checkpoint_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CheckpointInvalid, match="was not written by"):
        load_model(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid, match="cannot be read"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [{"step": 3}, {"kind": "MappingModel", "schema_version": 9}], ids=str)
def test_other_checkpoints_are_refused(path: Path, content: dict[str, object]) -> None:
    torch.save(content, path)
    with pytest.raises(CheckpointInvalid, match="need a MappingModel of version 1"):
        load_model(path)


def test_other_things_that_torch_wrote_are_refused(path: Path) -> None:
    torch.save([1, 2], path)
    with pytest.raises(CheckpointInvalid, match="was not written by"):
        load_model(path)


def test_code_in_a_file_is_not_run(path: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"kind": "MappingModel", "schema_version": 1, "provenance": Trap()}, path)
    with pytest.raises(CheckpointInvalid, match="cannot be read"):
        load_model(path)
    assert not (tmp_path / "sprung").exists()


def test_a_configuration_of_another_version_is_refused(path: Path) -> None:
    save(path, model(), PROVENANCE)
    content = torch.load(path)
    content["provenance"] = content["provenance"].replace('"latent"', '"dimensions"')
    torch.save(content, path)
    with pytest.raises(CheckpointInvalid, match=r"configuration cannot be read(.|\n)*dimensions"):
        load_model(path)


def test_weights_that_do_not_fit_their_configuration_are_refused(path: Path) -> None:
    wider = CONFIG.model_copy(update={"model": CONFIG.model.model_copy(update={"latent": 9})})
    save(path, model(), PROVENANCE.model_copy(update={"config": wider}))
    with pytest.raises(CheckpointInvalid, match="do not fit its configuration"):
        load_model(path)


def test_a_write_that_fails_leaves_the_file_before_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, model(), PROVENANCE)
    before = path.read_bytes()

    def half_written(_content: object, part: Path) -> None:
        part.write_bytes(b"PK half of a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(OSError, match="No space"):
        save(path, model(), PROVENANCE)
    assert path.read_bytes() == before
