import json
from pathlib import Path

import numpy as np
import pytest
from rasterio import Affine

from contract.errors import SampleInvalid
from contract.legend import WORLDCOVER, Legend
from training.data.legends import (
    BIGEARTHNET19,
    CORINE_TO_BIGEARTHNET19,
    CORINE_TO_WORLDCOVER,
    DFC2020,
    DFC2020_TO_WORLDCOVER,
    ESRI_TO_WORLDCOVER,
    IGBP_TO_DFC2020,
    IGBP_TO_WORLDCOVER,
    LabelTable,
)
from training.data.rasters import Raster, RasterGrid
from training.data.sample import NO_LABEL

# The numbers of classes on the third level, by the first two digits: CLC nomenclature, 44 in all.
CORINE_GROUPS = {
    11: 2, 12: 4, 13: 3, 14: 2, 21: 3, 22: 3, 23: 1, 24: 4, 31: 3, 32: 4, 33: 5, 41: 2, 42: 3, 51: 2, 52: 3,
}  # fmt: skip
CORINE_CODES = {10 * group + number for group, count in CORINE_GROUPS.items() for number in range(1, count + 1)}


def names_of(legend: Legend) -> dict[int, str]:
    return {entry.value: entry.name for entry in legend.classes}


def codes(values: list[list[float]], dtype: str = "uint16", valid: np.ndarray | None = None) -> Raster:
    stored = np.array(values, dtype)[None]
    grid = RasterGrid(crs=None, transform=Affine.identity(), shape=stored.shape[1:])
    seen = np.ones(stored.shape[1:], bool) if valid is None else valid
    return Raster(path=Path("map.tif"), names=("codes",), values=stored, valid=seen, grid=grid)


def test_codes_become_values_of_the_legend() -> None:
    labels = CORINE_TO_WORLDCOVER.labels(codes([[112, 211, 523], [324, 334, 999]]))
    assert labels.tolist() == [[50, 40, 80], [20, NO_LABEL, NO_LABEL]]
    assert labels.dtype == np.uint8


def test_codes_stored_as_floats_are_codes() -> None:
    valid = np.array([[True, True, False]])
    assert CORINE_TO_WORLDCOVER.labels(codes([[311, 231, np.nan]], "float32", valid)).tolist() == [[10, 30, NO_LABEL]]


def test_missing_pixels_are_unlabelled_whatever_their_code() -> None:
    valid = np.array([[True, False]])
    assert CORINE_TO_WORLDCOVER.labels(codes([[311, 65535]], valid=valid)).tolist() == [[10, NO_LABEL]]


@pytest.mark.parametrize("unknown", [17, 310, 2310, 211.5])
def test_a_code_that_is_in_no_table_is_refused(unknown: float) -> None:
    with pytest.raises(SampleInvalid, match=rf"map\.tif: found label codes \[{unknown:g}.*need codes of CORINE"):
        CORINE_TO_WORLDCOVER.labels(codes([[211, unknown]], "float64"))


def test_a_table_cannot_give_values_that_its_legend_does_not_have() -> None:
    with pytest.raises(ValueError, match=r"\[15\] are no values of ESA WorldCover"):
        LabelTable(source="mine", legend=WORLDCOVER, values={1: 10, 2: 15})


@pytest.mark.parametrize("table", [CORINE_TO_WORLDCOVER, CORINE_TO_BIGEARTHNET19], ids=lambda table: table.legend.name)
def test_every_corine_class_is_in_the_tables(table: LabelTable) -> None:
    assert len(CORINE_CODES) == 44
    assert set(table.values) == CORINE_CODES | {0, 990, 995, 999}


@pytest.mark.parametrize("table", [IGBP_TO_WORLDCOVER, IGBP_TO_DFC2020], ids=lambda table: table.legend.name)
def test_every_igbp_class_is_in_the_tables(table: LabelTable) -> None:
    assert set(table.values) == {*range(1, 18), 0, 255}


def test_igbp_is_simplified_as_in_the_contest() -> None:
    # doi:10.21227/rha7-m332: forests, shrublands, savannas and croplands are merged, the others keep their order.
    merged = [1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 6, 8, 9, 10]
    assert [IGBP_TO_DFC2020.values[code] for code in range(1, 18)] == merged


def test_the_simplified_scheme_never_contradicts_the_full_one() -> None:
    for code, simplified in IGBP_TO_DFC2020.values.items():
        direct, over = IGBP_TO_WORLDCOVER.values[code], DFC2020_TO_WORLDCOVER.values[simplified]
        assert NO_LABEL in {direct, over} or direct == over


def test_every_class_of_the_contest_is_in_its_table() -> None:
    assert set(DFC2020_TO_WORLDCOVER.values) == {*names_of(DFC2020), 0, 255}


@pytest.mark.parametrize(
    ("table", "code", "name"),
    [
        (IGBP_TO_WORLDCOVER, 12, "Cropland"),
        (IGBP_TO_WORLDCOVER, 16, "Bare / sparse vegetation"),
        (DFC2020_TO_WORLDCOVER, 9, "Bare / sparse vegetation"),
        (DFC2020_TO_WORLDCOVER, 8, "Snow and ice"),
        (ESRI_TO_WORLDCOVER, 1, "Permanent water bodies"),
        (ESRI_TO_WORLDCOVER, 3, "Herbaceous wetland"),
        (ESRI_TO_WORLDCOVER, 5, "Built-up"),
        (ESRI_TO_WORLDCOVER, 7, "Snow and ice"),
    ],
)
def test_classes_keep_their_meaning(table: LabelTable, code: int, name: str) -> None:
    assert names_of(WORLDCOVER)[table.values[code]] == name


@pytest.mark.parametrize(
    ("table", "mixed"),
    [
        (CORINE_TO_WORLDCOVER, {141, 142, 334, 422}),
        (IGBP_TO_WORLDCOVER, {9, 14}),
        (DFC2020_TO_WORLDCOVER, {3}),
        (ESRI_TO_WORLDCOVER, {8, 9}),
    ],
    ids=lambda value: value.source if isinstance(value, LabelTable) else "",
)
def test_classes_without_a_single_cover_are_unlabelled(table: LabelTable, mixed: set[int]) -> None:
    no_data = {0, 255, 990, 995, 999}
    assert {code for code, value in table.values.items() if value == NO_LABEL} - no_data == mixed


def test_bigearthnet_classes_are_named_as_published(shared: Path) -> None:
    published = json.loads((shared / "data/reben/classes19.json").read_text())["classes19"]
    assert names_of(BIGEARTHNET19) == dict(enumerate(published[1:], start=1))
