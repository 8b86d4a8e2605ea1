"""Training and evaluation as they are called: from a tiny archive to an evaluated model, and what is refused."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from contract.bundle import Calibration
from tests.commands import Ended, Landsigma
from tests.training.data.layouts_reben import S1_BANDS, TinyPatch, write_flat
from training.checkpoint import load_encoder, load_model
from training.evaluate.report import Evaluation

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
SHAPE = (24, 32)
CODES = np.array([211, 312, 512], np.uint16)
"""CORINE's arable land, coniferous forest and water bodies."""
TILES = {"T29SNB": "train", "T32TMT": "train", "T34VDN": "train", "T34VER": "validation", "T35VNH": "validation"}


class Patch(TinyPatch):
    """A patch of three classes, each with its own brightness in both sensors."""

    def codes(self) -> NDArray[np.uint16]:
        rng = np.random.default_rng([*self.name.encode()])
        return CODES[np.kron(rng.integers(3, size=(6, 8)), np.ones((4, 4), np.int64))]

    def band(self, name: str) -> NDArray[np.generic]:
        rng = np.random.default_rng([*self.name.encode(), *name.encode()])
        brightness = np.searchsorted(CODES, self.codes())
        if name in S1_BANDS:
            return (rng.normal(-6, 1, SHAPE) - 4 * brightness - 6 * (name == "VH")).astype(np.float32)
        return (rng.integers(200, 600, SHAPE) + 900 * (2 - brightness)).astype(np.uint16)


def patches() -> list[TinyPatch]:
    """Two of each tile."""
    return [
        Patch(
            name=f"S2A_MSIL2A_20170613T101031_N9999_R022_{tile}_41_{row}",
            s1=f"S1B_IW_GRDH_1SDV_20170612T162029_{tile[1:]}_41_{row}",
            split=split,
        )
        for tile, split in TILES.items()
        for row in (60, 62)
    ]


RECIPE = """
name = "tiny"
classes = [10, 40, 80]
[[labelled]]
kind = "reben"
folder = "data"
splits = ["train"]
[model]
latent = 4
s2 = { widths = [8, 8, 8], blocks = [0, 0, 0] }
s1 = { widths = [8, 8, 8], blocks = [0, 0, 0] }
[pretrain]
chips = 4
chip_px = 16
reach_px = 8
positions = 4
optimiser = { steps = 4 }
variances.optimiser = { steps = 2, learning_rate = 0.02 }
[probe]
chips = 4
chip_px = 16
batches = 30
[calibrate]
folds = 2
steps = 5
[hardware]
accelerator = "cpu"
threads = 1
"""

AS_PAIRS = """
name = "pairs"
[[labelled]]
kind = "pairs"
folder = "data"
[labelled.layout]
s2 = "{name}/s2.tif"
s1 = "{name}/s1.tif"
labels = "{name}/clc.tif"
label_table = "corine"
"""
"""The same files, which all lie where the first patch of T34VER does."""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A configuration beside its archive."""
    write_flat(tmp_path / "data", patches())
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def with_line(recipe: Path, old: str, new: str) -> Path:
    """The configuration, changed."""
    assert old in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(old, new))
    return recipe


def logged_steps(run: Path) -> list[int]:
    with (run / "log.csv").open(newline="") as file:
        return [int(line["step"]) for line in csv.DictReader(file)]


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


# --- the whole way --------------------------------------------------------------------------------------------------


def test_three_stages_and_an_evaluation_follow_each_other(recipe: Path, tmp_path: Path, landsigma: Landsigma) -> None:
    out, data = tmp_path / "a [red]b", tmp_path / "data"
    for stage, left in (("pretrain", "encoder.pt"), ("probe", "probe.pt"), ("calibrate", "model.pt")):
        ended = landsigma("train", stage, recipe, "--out", out)
        assert ended.status == 0, ended.err
        assert ended.out == f"{out / left}\n"
        assert "6 samples, 6 read, 6 pairs" in ended.err
        assert ended.err.replace("\n", "").isprintable()
    assert logged_steps(out / "pretrain") == list(range(4))
    model, provenance = load_model(out / "model.pt")
    assert provenance.places == ("T29SNB", "T32TMT", "T34VDN")
    assert isinstance(provenance.calibration, Calibration)
    assert model.temperature.tolist() == pytest.approx([value for _, value in provenance.calibration.temperature])

    refused = landsigma("evaluate", out / "model.pt", data, "--kind", "reben")
    assert refused.status == 1
    assert "has seen 3 of the 5 places" in refused.err
    assert not (out / "evaluation").exists()

    ended = landsigma(
        "evaluate", out / "model.pt", data, "--kind", "reben", "--split", "val", "--place", "T34VER", "--json"
    )
    assert ended.status == 0, ended.err
    evaluation = Evaluation.model_validate_json(ended.out)
    assert (evaluation.samples, evaluation.places) == (2, ("T34VER",))
    assert json.loads((out / "evaluation/evaluation.json").read_text()) == json.loads(ended.out)
    assert len(evaluation.conformal) == len(provenance.calibration.conformal) > 0
    pictures = {path.name for path in (out / "evaluation").glob("*.png")}
    assert {"maps.png", "reliability.png", "corruption.png"} <= pictures


def test_tables_are_printed_of_the_configured_archives(recipe: Path, tmp_path: Path, landsigma: Landsigma) -> None:
    assert landsigma("train", "probe", recipe, "--from-scratch", "--out", tmp_path / "out").status == 0
    questions = with_line(recipe, 'splits = ["train"]', 'places = ["T35VNH"]')
    ended = landsigma("evaluate", tmp_path / "out/probe.pt", questions, "--out", tmp_path / "figures")
    assert ended.status == 0, ended.err
    assert "tiny on 2 samples of 1 unseen places" in ended.out
    assert "Is the variance worth reading?" in ended.out
    assert ended.out.splitlines()[-1] == f"pictures, maps and evaluation.json are in {tmp_path / 'figures'}"
    assert (tmp_path / "figures/evaluation.json").is_file()


def test_a_stage_goes_to_a_folder_of_its_name(
    recipe: Path, tmp_path: Path, landsigma: Landsigma, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert landsigma("train", "pretrain", recipe).out == "runs/tiny/encoder.pt\n"
    assert load_encoder(tmp_path / "runs/tiny/encoder.pt")[1].config.name == "tiny"


def test_a_check_lists_values_and_places(recipe: Path, landsigma: Landsigma) -> None:
    ended = landsigma("train", "check", recipe)
    assert ended.status == 0, ended.err
    codes = np.stack([patch.codes() for patch in patches() if patch.split == "train"])
    pixels = [np.count_nonzero(codes == code) for code in (312, 211, 512)]
    assert "labelled px: 10 {}, 40 {}, 80 {}\n".format(*pixels) in ended.out
    assert ended.out.splitlines()[-1] == "  samples of places: T29SNB 2, T32TMT 2, T34VDN 2"


def test_a_probe_may_start_from_the_encoder_of_another_folder_if_the_model_is_the_same(
    recipe: Path, tmp_path: Path, landsigma: Landsigma
) -> None:
    assert landsigma("train", "pretrain", recipe, "--out", tmp_path / "first").status == 0
    command = ("train", "probe", recipe, "--encoder", tmp_path / "first/encoder.pt", "--out", tmp_path / "second")
    assert landsigma(*command).status == 0
    encoder, model = load_encoder(tmp_path / "first/encoder.pt")[0], load_model(tmp_path / "second/probe.pt")[0]
    torch.testing.assert_close(model.encoder.state_dict(), encoder.state_dict(), rtol=0, atol=0)
    with_line(recipe, "latent = 4", "latent = 6")
    assert "are not those of the encoder" in refused(landsigma(*command))


# --- stopping -------------------------------------------------------------------------------------------------------


def test_ctrl_c_keeps_the_last_step_and_resume_goes_on_from_it(
    recipe: Path, tmp_path: Path, landsigma: Landsigma
) -> None:
    out = tmp_path / "out"
    with_line(recipe, "optimiser = { steps = 4 }", "optimiser = { steps = 100_000 }")
    command = [sys.executable, "-m", "landsigma", "train", "pretrain", str(recipe), "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE_S
    while not (out / "pretrain/log.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == (
        "stopped; the last state on disk stays. Run the same command with --resume to go on"
    )
    done = logged_steps(out / "pretrain")
    assert torch.load(out / "pretrain/last.ckpt", weights_only=True)["step"] == len(done)

    with_line(recipe, "steps = 100_000", f"steps = {len(done) + 2}")
    assert landsigma("train", "pretrain", recipe, "--out", out, "--resume").status == 0
    assert logged_steps(out / "pretrain") == list(range(len(done) + 2))
    assert (
        landsigma("train", "pretrain", with_line(recipe, f"steps = {len(done) + 2}", "steps = 3"), "--out", out).status
        == 0
    )
    assert logged_steps(out / "pretrain") == [0, 1, 2]


@pytest.mark.parametrize("stage", ["pretrain", "probe", "calibrate"])
def test_a_dry_run_writes_nothing(
    stage: str, recipe: Path, tmp_path: Path, landsigma: Landsigma, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files_of(tmp_path)
    ended = landsigma("train", stage, recipe, "--dry-run")
    assert ended.status == 0, ended.err
    steps = {"pretrain": "6", "probe": "30", "calibrate": "30"}[stage]
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in ended.out.splitlines() if "│" in line]
    assert ["steps", steps] in rows
    assert ["samples", "6 of 3 places"] in rows
    assert ["a batch", "4 chips of 16 x 16 px"] in rows
    assert files_of(tmp_path) == before


# --- refusals -------------------------------------------------------------------------------------------------------


def refused(ended: Ended) -> str:
    """The one line that a command was refused with."""
    assert ended.status == 1, ended.err
    assert ended.out == ""
    assert "Traceback" not in ended.err
    line = ended.err.splitlines()[-1]
    assert line.startswith("Error: ")
    return line


def test_a_probe_is_calibrated_by_its_own_recipe_and_encoder_alone(
    recipe: Path, tmp_path: Path, landsigma: Landsigma
) -> None:
    out = ("--out", tmp_path / "out")
    for stage in ("pretrain", "probe"):
        assert landsigma("train", stage, recipe, *out).status == 0
    other = tmp_path / "other"
    assert landsigma("train", "pretrain", with_line(recipe, "steps = 4", "steps = 3"), "--out", other).status == 0
    line = refused(landsigma("train", "calibrate", recipe, *out, "--encoder", other / "encoder.pt"))
    assert "another encoder" in line
    with_line(recipe, "classes = [10, 40, 80]", "classes = [10, 40]")
    assert "another 'classes' table" in refused(landsigma("train", "calibrate", recipe, *out))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("latent = 4", "latents = 4", ["tiny.toml", "model.latents", "not permitted"]),
        ("latent = 4", "latent = 1", ["model.latent", "greater than or equal to 2", "given 1"]),
        ("[model]", "[model", ["tiny.toml"]),
        ('kind = "reben"', 'kind = "rebel"', ["labelled", "rebel"]),
        ('folder = "data"', 'folder = "dada"', ["dada", "does not exist"]),
        ('splits = ["train"]', 'splits = ["test"]', ["none of its 10 samples is of test"]),
        ("chip_px = 16", "chip_px = 128", ["24 x 32 px", "128 px of a chip"]),
        (
            "classes = [10, 40, 80]",
            "classes = [50, 60]",
            ["no pixel of reBEN", "labelled with one of its classes (50, 60)", "[[unlabelled]]"],
        ),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(
    old: str, new: str, words: list[str], recipe: Path, tmp_path: Path, landsigma: Landsigma
) -> None:
    with_line(recipe, old, new)
    line = refused(landsigma("train", "probe", recipe, "--from-scratch", "--out", tmp_path / "out"))
    assert all(word in line for word in words), line
    assert not (tmp_path / "out/probe.pt").exists()


def test_a_broken_file_is_found_before_the_first_step(recipe: Path, tmp_path: Path, landsigma: Landsigma) -> None:
    broken = min((tmp_path / "data").rglob("s1.tif"))
    broken.write_bytes(broken.read_bytes()[:300])
    for stage in ("check", "pretrain"):
        assert str(broken) in refused(landsigma("train", stage, recipe))
    assert not (tmp_path / "runs").exists()


def test_held_out_samples_on_the_same_ground_are_refused(tmp_path: Path, landsigma: Landsigma) -> None:
    first, *others = patches()
    neighbour = Patch(name=first.name.replace("_60", "_61"), s1=first.s1.replace("_60", "_61"), split="validation")
    write_flat(tmp_path / "data", [first, neighbour, *others])
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    for command in (("check",), ("pretrain",), ("probe", "--from-scratch")):
        line = refused(landsigma("train", command[0], recipe, *command[1:]))
        assert all(name in line for name in (neighbour.name, "both are of place T29SNB")), line


def test_ground_that_another_archive_calls_otherwise_is_refused(
    recipe: Path, tmp_path: Path, landsigma: Landsigma
) -> None:
    with_line(recipe, 'splits = ["train"]', 'places = ["T34VER"]')
    assert landsigma("train", "probe", recipe, "--from-scratch", "--out", tmp_path / "out").status == 0
    again = tmp_path / "again.toml"
    again.write_text(AS_PAIRS)
    line = refused(landsigma("evaluate", tmp_path / "out/probe.pt", again))
    assert "their footprints share ground" in line
    assert "_T34VER_41_60" in line


def test_a_probe_without_an_encoder_says_what_to_run_first(recipe: Path, tmp_path: Path, landsigma: Landsigma) -> None:
    for stage in ("probe", "calibrate"):
        line = refused(landsigma("train", stage, recipe, "--out", tmp_path / "out"))
        assert str(tmp_path / "out/encoder.pt") in line
        assert "landsigma train pretrain" in line
        assert "--from-scratch" in line
    line = refused(landsigma("train", "calibrate", recipe, "--from-scratch", "--out", tmp_path / "out"))
    assert "probe.pt: no such file; run the stage before this one" in line


def test_a_folder_of_no_kind_is_refused(recipe: Path, tmp_path: Path, landsigma: Landsigma) -> None:
    assert landsigma("train", "probe", recipe, "--from-scratch", "--out", tmp_path / "out").status == 0
    assert "--kind" in refused(landsigma("evaluate", tmp_path / "out/probe.pt", tmp_path / "data"))
    assert "T99XXX" in refused(
        landsigma("evaluate", tmp_path / "out/probe.pt", tmp_path / "data", "--kind", "reben", "--place", "T99XXX")
    )
    assert "not written by `landsigma train`" in refused(
        landsigma("evaluate", recipe, tmp_path / "data", "--kind", "reben")
    )


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("torch", ["train", "check", "vdual-simclr"], "train"),
        ("lightning_fabric", ["train", "pretrain", "vdual-simclr"], "train"),
        ("pyarrow", ["evaluate", "model.pt", "data"], "train"),
        ("rasterio", ["demo", "nowhere"], "workers,cpu"),
        ("onnxruntime", ["bundle", "verify", "spectral-rules"], "workers,cpu"),
    ],
)
def test_a_missing_package_is_said_in_one_line_with_its_extra(
    module: str, command: list[str], extra: str, tmp_path: Path
) -> None:
    script = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv[1:] = {command!r}; import landsigma; landsigma.main()"
    )
    command = [sys.executable, "-c", script]
    environment = {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"Error: {module} is not installed, which this command needs; run: pip install 'landsigma[{extra}]'\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["train"], ["train", "probe"], ["evaluate"]])
def test_help_fits_the_terminal(command: list[str], landsigma: Landsigma, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = landsigma(*command, "--help")
    assert ended.status == 0
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "..." not in ended.out.replace("COMMAND [ARGS]...", "")
