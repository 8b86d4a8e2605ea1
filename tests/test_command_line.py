"""What the command line says, on which stream, with which exit status, and what it leaves behind."""

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from contract.bundle import BundleManifest
from contract.request import JobState, MapResult
from landsigma import shelves
from tests.commands import Landsigma
from workers.demo.scene import make_demo_scene
from workers.estimate import Estimate

ROOT = Path(__file__).resolve().parents[1]
DATES = ("--from", "2021-04-01", "--to", "2021-10-01")
ODD_NAME = "a [red]b[/red] :bear: [/] c"
"""Spaces, and what Rich would take for markup."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small generated scene, with catalog.json and aoi.geojson."""
    folder = tmp_path_factory.mktemp("scene") / ODD_NAME
    make_demo_scene(folder, seed=7, shape=(256, 320))
    return folder


@pytest.fixture
def damaged_bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "[b]damaged[/b]"
    shutil.copytree(shelves()[0] / "spectral-rules", folder)
    with (folder / "model.onnx").open("ab") as graph:
        graph.write(b"\n")
    return folder


def arguments(scene: Path, out: Path, **changed: str | Path) -> list[str]:
    """Of a `map` that works unless something is changed."""
    aoi = changed.pop("aoi", scene / "aoi.geojson")
    options = {
        "source": scene / "catalog.json",
        "bundle": "spectral-rules",
        "from": "2021-04-01",
        "to": "2021-10-01",
        "out": out,
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    return ["map", str(aoi), *(text for name, value in options.items() for text in (f"--{name}", str(value)))]


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"aoi": "5,40,15,50"}, ["one job maps at most 50,000.0 km2", "--max-area-km2"]),
        ({"aoi": "10,48,10,48"}, ["encloses no area"]),
        ({"aoi": "10.40001,48.73,10.40004,48.73003"}, ["without a pixel centre of 10 m inside"]),
        ({"aoi": "POLYGON((10 100, 11 100, 11 101, 10 100))"}, ["(10, 100)", "axes look swapped"]),
        ({"aoi": f"{ODD_NAME}.geojson"}, [f"'{ODD_NAME}.geojson'", "neither a file nor text"]),
        ({"aoi": "[red].geojson"}, ["'[red].geojson'", "neither a file nor text"]),
        ({"bundle": ODD_NAME}, [f"no bundle '{ODD_NAME}'"]),
        ({"source": ODD_NAME}, [f"source '{ODD_NAME}'", "none of planetary-computer, earth-search"]),
        ({"source": "earth-search"}, ["not terrain-corrected", "Ask for s2 alone", "--modality"]),
        ({"from": "2011-01-01", "to": "2011-02-01"}, ["no scene", "2011-01-01", "Widen the dates"]),
        ({"output": "entropy"}, ["gives no 'entropy'", "probabilities, variance"]),
        ({"crs": "EPSG:4326"}, ["'EPSG:4326'", "not projected"]),
        ({"crs": "utm"}, ["'utm'", "unknown"]),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(
    changed: dict[str, str], words: list[str], scene: Path, tmp_path: Path, landsigma: Landsigma
) -> None:
    ended = landsigma(*arguments(scene, tmp_path / "out", **changed))
    assert ended.status == 1
    assert ended.out == ""
    error = ended.err.splitlines()[-1]
    assert ended.err.count("Error: ") == 1
    assert error.startswith("Error: ")
    assert all(word in error for word in words), error
    assert not list((tmp_path / "out").glob("*"))
    assert not (tmp_path / "out" / ".landsigma").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"from": "2021-10-01", "to": "2021-04-01"}, ["2021-10-01 to 2021-04-01 is empty", "start < end"]),
        ({"from": "yesterday"}, ["--from", "yesterday", "%Y-%m-%d"]),
        ({"mask_scl": "12"}, ["--mask-scl", "11"]),
        ({"block_px": "10"}, ["--block-px", "64"]),
        ({"max_cloud": "101"}, ["--max-cloud", "100"]),
        ({"max_lost": "nan"}, ["1"]),
        ({"modality": "s3"}, ["--modality", "s3"]),
        ({"composite": "mode"}, ["--composite", "mode"]),
    ],
)
def test_wrong_usage_names_the_option_and_its_limit(
    changed: dict[str, str], words: list[str], scene: Path, tmp_path: Path, landsigma: Landsigma
) -> None:
    ended = landsigma(*arguments(scene, tmp_path / "out", **changed))
    assert ended.status == 2
    assert ended.out == ""
    assert all(word in ended.err.splitlines()[-1] for word in words), ended.err
    assert not (tmp_path / "out").exists()


def test_a_damaged_bundle_is_refused_before_the_search(
    scene: Path, tmp_path: Path, landsigma: Landsigma, damaged_bundle: Path
) -> None:
    ended = landsigma(*arguments(scene, tmp_path / "out", bundle=damaged_bundle, source="http://127.0.0.1:9/"))
    assert ended.status == 1
    assert f"bundle '{damaged_bundle}' is refused: model.onnx has sha256" in ended.err
    assert not list((tmp_path / "out").iterdir())


def test_a_source_without_a_band_of_the_bundle_is_named_with_the_band(
    scene: Path, tmp_path: Path, landsigma: Landsigma
) -> None:
    profile = tmp_path / "three-bands.toml"
    assets = "\n".join(f'{name} = "{name}"' for name in ("B02", "B03", "B04"))
    catalogue = f'catalogue = "{scene / "catalog.json"}"'
    profile.write_text(f'{catalogue}\n[s2]\ncollections = ["sentinel-2-l2a"]\n[s2.assets]\n{assets}\n')
    ended = landsigma(*arguments(scene, tmp_path / "out", source=profile, modality="s2"))
    assert ended.status == 1
    assert "names no asset for B08, which the bundle needs" in ended.err


def test_after_an_error_the_same_folder_can_be_used(scene: Path, tmp_path: Path, landsigma: Landsigma) -> None:
    out = tmp_path / "out"
    assert landsigma(*arguments(scene, out, to="2021-04-02")).status == 1
    assert landsigma(*arguments(scene, out)).status == 0


# --- maps -----------------------------------------------------------------------------------------------------------


def test_json_is_all_of_stdout_and_a_log_has_no_control_characters(
    scene: Path, tmp_path: Path, landsigma: Landsigma
) -> None:
    ended = landsigma(*arguments(scene, tmp_path / ODD_NAME, block_px="128"), "--json")
    assert ended.status == 0
    result = MapResult.model_validate_json(ended.out)
    assert result.state is JobState.SUCCESSFUL
    assert result.request.options.block_px == 128
    lines = ended.err.splitlines()
    assert lines[0] == "model spectral-rules 1.0.0 on CPUExecutionProvider"
    assert lines[1:3] == ["5 scenes of s2", "4 scenes of s1"]
    assert [line.split()[0] for line in lines[3:-1]] == [f"{n}/{result.blocks}" for n in range(1, result.blocks + 1)]
    assert lines[-1] == "finishing"
    assert ended.err.replace("\n", "").isprintable()


def test_names_are_printed_as_they_are(scene: Path, tmp_path: Path, landsigma: Landsigma) -> None:
    out = tmp_path / ODD_NAME
    ended = landsigma(*arguments(scene, out))
    assert ended.out.splitlines()[0] == f"successful: {out}"
    assert "Tree cover" in ended.out
    again = landsigma(*arguments(scene, out))
    assert again.status == 1
    assert again.err == f"Error: {out} cannot be used: its job is finished; choose another --out\n"


def test_reads_that_are_lost_are_printed_as_they_are(scene: Path, tmp_path: Path, landsigma: Landsigma) -> None:
    folder = tmp_path / ODD_NAME
    shutil.copytree(scene, folder)
    gone = next(folder.rglob("*20210608*/B04.tif"))
    gone.unlink()
    ended = landsigma(*arguments(folder, tmp_path / "out", max_lost="1"))
    assert ended.status == 0
    assert ended.out.startswith("successful with gaps: ")
    (lost,) = (line for line in ended.err.splitlines() if line.startswith("lost: "))
    assert f"{gone.parent.name} B04" in lost
    assert str(gone) in lost


def test_a_dry_run_writes_nothing(
    scene: Path, tmp_path: Path, landsigma: Landsigma, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in scene.rglob("*")}
    ended = landsigma(*arguments(scene, tmp_path / "out"), "--dry-run")
    assert ended.status == 0
    assert "CPUExecutionProvider" in ended.out
    estimate = Estimate.model_validate_json(landsigma(*arguments(scene, tmp_path / "out"), "--dry-run", "--json").out)
    assert sum(estimate.scenes.values()) == 9
    assert not list(tmp_path.iterdir())
    assert {path: path.stat().st_mtime_ns for path in scene.rglob("*")} == before


@pytest.fixture
def _small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a landscape of the demo that is soon there."""
    monkeypatch.setattr("workers.demo.scene.make_demo_scene", partial(make_demo_scene, shape=(256, 320)))


@pytest.mark.usefixtures("_small_demo")
def test_a_demo_ends_with_its_picture_can_be_repeated_and_removes_nothing(tmp_path: Path, landsigma: Landsigma) -> None:
    folder = tmp_path / ODD_NAME
    kept = folder / "map" / "thesis.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    for _ in range(2):
        ended = landsigma("demo", folder)
        assert ended.status == 0, ended.err
        address, picture = ended.out.splitlines()[-2:]
        assert "http://127.0.0.1:" in address
        assert address.endswith("/landcover.tif")
        assert str(folder / "map" / "preview.png") in picture
    assert (folder / "map" / "preview.png").stat().st_size > 10_000
    assert len(list((folder / "server" / "results").iterdir())) == 2
    assert kept.read_text() == "mine"


def test_a_bbox_west_of_greenwich_is_no_option(tmp_path: Path, landsigma: Landsigma) -> None:
    ended = landsigma(
        "map",
        "-63.5,-10.2,-63.4,-10.1",
        "--bundle",
        "ghost",
        "--from",
        "2024-06-01",
        "--to",
        "2024-07-01",
        "--out",
        tmp_path / "out",
    )
    assert ended.err.startswith("Error: no bundle 'ghost'")


# --- bundles, help --------------------------------------------------------------------------------------------------


def test_a_bundle_is_shown(landsigma: Landsigma) -> None:
    shown = landsigma("bundle", "show", "spectral-rules")
    assert shown.status == 0
    assert "B02, B03, B04, B08 as reflectance" in shown.out
    manifest = BundleManifest.model_validate_json(landsigma("bundle", "show", "spectral-rules", "--json").out)
    assert manifest.model_dump(mode="json") == json.loads((shelves()[0] / "spectral-rules/manifest.json").read_text())


def test_a_bundle_is_verified(landsigma: Landsigma, damaged_bundle: Path) -> None:
    assert "runs on CPUExecutionProvider" in landsigma("bundle", "verify", "spectral-rules").out
    refused = landsigma("bundle", "verify", damaged_bundle)
    assert refused.status == 1
    assert refused.err.startswith(f"Error: bundle '{damaged_bundle}' is refused: model.onnx has sha256")


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_bundle_that_is_none_is_refused(command: str, landsigma: Landsigma, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    assert "manifest.json" in landsigma("bundle", command, tmp_path).err
    unknown = landsigma("bundle", command, "unknown")
    assert unknown.status == 1
    assert unknown.err.startswith("Error: no bundle 'unknown'")


def test_it_says_its_version(landsigma: Landsigma) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{landsigma("--version").out.split()[1]}"' in project


@pytest.mark.parametrize("command", [[], ["map"], ["demo"], ["bundle", "show"]])
@pytest.mark.parametrize("width", [80, 120])
def test_help_fits_the_terminal(
    command: list[str], width: int, landsigma: Landsigma, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    ended = landsigma(*command, "--help")
    assert ended.status == 0
    assert max(map(len, ended.out.splitlines())) <= width
    assert "..." not in ended.out.replace("COMMAND [ARGS]...", "")


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "landsigma", "--help"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "Usage: landsigma [OPTIONS] COMMAND" in said
