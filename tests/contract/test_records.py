"""Records and errors that cross between folders."""

import json
import math
import pickle
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from affine import Affine
from pydantic import ValidationError
from rasterio import windows

from contract import errors
from contract.bands import Modality, Unit
from contract.bundle import BundleFile, BundleManifest, Encoding, ModelInput, ModelOutput
from contract.errors import AoiError, Interrupted, JobError, LandsigmaError, SourceError
from contract.grid import Grid, Window
from contract.legend import WORLDCOVER, LandCoverClass, Legend
from contract.record import Record
from contract.request import JobState, MapOptions, MapRequest
from contract.scene import Area, Radiometry, Scene, SceneAsset
from tests.contract.examples import REPORT

AREA = Area(coordinates=((((9.0, 47.0), (9.1, 47.0), (9.1, 47.2), (9.0, 47.0)),),))
NAN = float("nan")


def request(**changes: Any) -> MapRequest:
    asked = {
        "area": AREA,
        "start": datetime(2024, 5, 1, tzinfo=UTC),
        "end": datetime(2024, 9, 1, tzinfo=UTC),
        "source": "planetary-computer",
        "bundle": "rules",
    }
    return MapRequest.model_validate(asked | changes)


def manifest(**changes: Any) -> BundleManifest:
    stored = Encoding(dtype="float32", nodata=NAN)
    given = {
        "name": "rules",
        "version": "1",
        "kind": "rules",
        "description": "For tests.",
        "licence": "Apache-2.0",
        "files": (BundleFile(path="model.onnx", sha256="0" * 64, size_bytes=1),),
        "graph": "model.onnx",
        "inputs": (model_input(), model_input(Modality.S1, "s1", ("VV", "VH"))),
        "outputs": (ModelOutput(name="probabilities", bands=("tree", "water"), encoding=stored),),
        "legend": WORLDCOVER.subset(10, 80),
        "resolution_m": 10,
        "chip_px": 64,
        "batch": 2,
        "halo_px": 16,
        "alignment_px": 16,
    }
    return BundleManifest.model_validate(given | changes)


def model_input(
    modality: Modality = Modality.S2, name: str = "s2", bands: tuple[str, ...] = ("B02", "B03", "B04")
) -> ModelInput:
    unit = Unit.REFLECTANCE if modality is Modality.S2 else Unit.DECIBEL
    return ModelInput.model_validate(
        {"modality": modality, "name": name, "validity": f"{name}_valid", "bands": bands, "unit": unit}
    )


def strictly_parsed(text: str) -> Any:
    """JSON as the standard has it: without NaN and infinities."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


# --- every record ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodata", [NAN, math.inf, -math.inf, 0.0, -9999.0, None])
def test_every_legal_nodata_survives_json(nodata: float | None) -> None:
    asset = SceneAsset(
        band="VV", href="/data/vv.tif", radiometry=Radiometry(unit=Unit.LINEAR_POWER, nodata=nodata, reason="file")
    )
    text = asset.model_dump_json()
    strictly_parsed(text)
    back = SceneAsset.model_validate_json(text).radiometry.nodata
    assert type(back) is type(nodata)
    assert back == nodata or (nodata is not None and math.isnan(nodata) and back is not None and math.isnan(back))


@pytest.mark.parametrize(
    "record",
    [
        request(),
        request(options=MapOptions(crs="EPSG:32632", modalities=(Modality.S1,), platforms=("sentinel-1a",))),
        REPORT.model_copy(update={"window": Window(row=-3, col=7, height=11, width=13)}),
        Scene(
            id="S2A_1",
            modality=Modality.S2,
            collection="sentinel-2-l2a",
            acquired=datetime(2024, 5, 1, 10, 20, 30, 123456, tzinfo=UTC),
            platform="sentinel-2a",
            footprint=AREA,
            assets=(SceneAsset(band="B02", href="b02.tif", radiometry=Radiometry(unit=Unit.REFLECTANCE, reason="")),),
        ),
        WORLDCOVER,
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_survives_json(record: Record) -> None:
    text = record.model_dump_json()
    strictly_parsed(text)
    assert type(record).model_validate_json(text) == record


def test_a_manifest_survives_json_with_its_nan_nodata() -> None:
    text = manifest().model_dump_json()
    assert strictly_parsed(text)["outputs"][0]["encoding"]["nodata"] == "NaN"
    assert BundleManifest.model_validate_json(text).model_dump_json() == text


def test_a_record_refuses_fields_it_does_not_know() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        MapOptions.model_validate({"block_pixels": 512})


def test_a_record_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        request().bundle = "other"  # type: ignore[misc]  # that is the point


# --- errors ---------------------------------------------------------------------------------------------------------


def every_error() -> Iterator[LandsigmaError]:
    """One of each class that is raised, its fields filled by type."""
    samples: dict[object, object] = {str: "a {b} 'c'\n", float: 1.5, int: 3, tuple[str, ...]: ("a", "b")}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, LandsigmaError) and is_dataclass(kind):
            yield kind(*(samples[field.type] for field in fields(kind)))


@pytest.mark.parametrize("error", tuple(every_error()), ids=lambda error: type(error).__name__)
def test_an_error_survives_the_trip_between_processes(error: LandsigmaError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert vars(back) == vars(error)
    assert str(back) == str(error) != ""


@pytest.mark.parametrize("error", tuple(every_error()), ids=lambda error: type(error).__name__)
def test_an_error_words_itself_and_has_a_parent_to_catch_it_by(error: LandsigmaError) -> None:
    assert type(error).__str__ is not LandsigmaError.__str__
    assert type(error).__base__ is not LandsigmaError


@pytest.mark.parametrize(
    "error",
    [error for error in every_error() if isinstance(error, AoiError | SourceError | JobError)],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_a_servers_users_see_names_no_option_of_a_command(error: LandsigmaError) -> None:
    assert isinstance(error, Interrupted) or "--" not in str(error)


# --- requests -------------------------------------------------------------------------------------------------------


def test_a_request_keeps_its_span_in_utc() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    start = request(start=datetime(2024, 5, 1, tzinfo=india)).start
    assert start.utcoffset() == timedelta(0)
    assert start == datetime(2024, 4, 30, 18, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": datetime(2024, 5, 1)}, "should have timezone info"),  # noqa: DTZ001  that is the point
        ({"end": datetime(2024, 5, 1, tzinfo=UTC)}, "the span 2024-05-01 to 2024-05-01 is empty; need start < end"),
        ({"end": datetime(2023, 5, 1, tzinfo=UTC)}, "the span 2024-05-01 to 2023-05-01 is empty"),
        ({"options": {"modalities": ()}}, r"modalities \[\] must be one or both of s2, s1"),
        ({"options": {"modalities": ("s2", "s2")}}, "once each"),
        ({"options": {"modalities": ("s3",)}}, "should be 's2' or 's1'"),
        ({"options": {"block_px": 32}}, "greater than or equal to 64"),
        ({"options": {"max_lost_fraction": 1.5}}, "less than or equal to 1"),
        ({"options": {"max_cloud_cover_percent": -1}}, "greater than or equal to 0"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        request(**changes)


def test_four_states_are_final() -> None:
    assert [state.value for state in JobState if state.is_final] == [
        "successful",
        "successful with gaps",
        "failed",
        "dismissed",
    ]


# --- legends --------------------------------------------------------------------------------------------------------


def test_worldcover_is_as_published() -> None:
    # `classification:classes` of the map asset of Planetary Computer's items ESA_WorldCover_10m_2021_v200_*.
    assert [(entry.value, entry.color, entry.name) for entry in WORLDCOVER.classes] == [
        (10, "#006400", "Tree cover"),
        (20, "#ffbb22", "Shrubland"),
        (30, "#ffff4c", "Grassland"),
        (40, "#f096ff", "Cropland"),
        (50, "#fa0000", "Built-up"),
        (60, "#b4b4b4", "Bare / sparse vegetation"),
        (70, "#f0f0f0", "Snow and ice"),
        (80, "#0064c8", "Permanent water bodies"),
        (90, "#0096a0", "Herbaceous wetland"),
        (95, "#00cf75", "Mangroves"),
        (100, "#fae6a0", "Moss and lichen"),
    ]
    assert WORLDCOVER.nodata == 0


def test_a_colour_is_given_as_numbers() -> None:
    assert LandCoverClass(value=40, name="Cropland", color="#f096ff").rgb == (240, 150, 255)


def test_a_subset_keeps_the_order_of_the_legend() -> None:
    assert [entry.value for entry in WORLDCOVER.subset(80, 10, 50).classes] == [10, 50, 80]


@pytest.mark.parametrize(("values", "nodata"), [((1, 1), 0), ((1, 2), 2)])
def test_a_legend_with_an_ambiguous_value_is_refused(values: tuple[int, ...], nodata: int) -> None:
    classes = tuple(LandCoverClass(value=value, name="x", color="#000000") for value in values)
    with pytest.raises(ValidationError, match="must all differ"):
        Legend(name="ours", classes=classes, nodata=nodata)


@pytest.mark.parametrize("color", ["#FFBB22", "ffbb22", "#fb2", "#ffbb22ff"])
def test_a_colour_is_written_in_one_way(color: str) -> None:
    with pytest.raises(ValidationError, match="should match pattern"):
        LandCoverClass(value=1, name="x", color=color)


# --- manifests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "should be 1"),
        ({"chip_px": 72}, "chip of 72 px is no multiple of the 16 px alignment"),
        ({"halo_px": 8}, "halo of 8 px is no multiple of the 16 px alignment"),
        ({"halo_px": 32}, "halo of 32 px leaves nothing of a 64 px chip; need 2 . halo < chip"),
        ({"graph": "other.onnx"}, "graph 'other.onnx' is not among the bundle's files"),
        ({"card": "README.md"}, "card 'README.md' is not among the bundle's files"),
        (
            {"variants": ({"path": "lean.onnx", "outputs": ("probabilities",)},)},
            "graph 'lean.onnx' is not among the bundle's files",
        ),
        (
            {"variants": ({"path": "model.onnx", "outputs": ("margin",)},)},
            r"graph 'model.onnx' gives \['margin'\], which are no outputs",
        ),
        ({"inputs": (model_input(), model_input(name="again"))}, "must each be distinct"),
        ({"inputs": (model_input(name="probabilities"),)}, "must each be distinct"),
        ({"legend": WORLDCOVER.subset(10, 50, 80)}, "2 probability bands do not fit the 3 classes"),
        ({"inputs": ()}, "at least 1 item"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        manifest(**changes)


def test_a_manifest_without_probabilities_is_refused() -> None:
    outputs = (ModelOutput(name="variance", bands=("total",), encoding=Encoding(dtype="float32", nodata=NAN)),)
    with pytest.raises(ValidationError, match="bundle 'rules' has no output 'probabilities'"):
        manifest(outputs=outputs)


@pytest.mark.parametrize("path", ["/etc/passwd", "../model.onnx", "weights/../../model.onnx"])
def test_a_bundle_file_outside_its_folder_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="must lie inside the bundle folder"):
        BundleFile(path=path, sha256="0" * 64, size_bytes=1)


@pytest.mark.parametrize(("modality", "band"), [(Modality.S2, "VV"), (Modality.S1, "B02"), (Modality.S2, "B10")])
def test_an_input_takes_bands_of_its_sensor_only(modality: Modality, band: str) -> None:
    with pytest.raises(ValidationError, match=f"'{band}' is no band of {modality.value}"):
        model_input(modality, "pixels", (band,))


def test_a_manifest_finds_its_inputs_and_outputs() -> None:
    both, radar = manifest(), manifest(inputs=(model_input(Modality.S1, "s1", ("VV",)),))
    s1 = both.input(Modality.S1)
    assert s1 is not None
    assert s1.bands == ("VV", "VH")
    assert radar.input(Modality.S2) is None
    assert both.output("probabilities").bands == ("tree", "water")


# --- windows and grids ----------------------------------------------------------------------------------------------


def test_windows_meet_where_their_pixels_do() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        row, col, height, width = (
            rng.integers(low, high, 2).tolist() for low, high in ((0, 9), (0, 9), (1, 9), (1, 9))
        )
        one, two = (Window(row=row[i], col=col[i], height=height[i], width=width[i]) for i in range(2))
        pixels = np.zeros((20, 20), int)
        for window in (one, two):
            pixels[window.slices_in(Window(row=0, col=0, height=20, width=20))] += 1
        common = one.intersection(two)
        if common is None:
            assert pixels.max() == 1
        else:
            assert (pixels[common.row : common.stop_row, common.col : common.stop_col] == 2).all()
            assert (pixels == 2).sum() == common.size_px


def test_a_window_lies_where_rasterio_has_it() -> None:
    grid = Grid(crs="EPSG:32632", left_m=499_980, top_m=5_200_020, resolution_m=20, height=30, width=50)
    window = Window(row=-3, col=7, height=11, width=13)
    expected = windows.bounds(windows.Window(7, -3, 13, 11), Affine(20, 0, 499_980, 0, -20, 5_200_020))
    assert grid.bounds_m(window) == expected


def test_neighbouring_grids_share_one_lattice() -> None:
    here = Grid(crs="EPSG:32632", left_m=500_000, top_m=5_200_000, resolution_m=10, height=30, width=50)
    there = here.model_copy(update={"left_m": 500_500.0, "top_m": 5_199_700.0})
    (row, col), (other_row, other_col) = here.lattice_origin, there.lattice_origin
    assert (other_row - row, other_col - col) == here.shape
