"""Areas as they are posted."""

import numpy as np
import pytest
import shapely
from pydantic import TypeAdapter
from pyproj import Transformer

from contract.errors import AoiAxesSwapped, AoiEmpty, AoiInvalid, AoiWrongCrs
from service.areas import GivenArea, measured
from service.problems import Refused

AREA = TypeAdapter(GivenArea)
TRIANGLE = [[11.0, 46.0], [12.5, 46.2], [11.3, 47.1], [11.0, 46.0]]


def polygon(*rings: list[list[float]]) -> dict[str, object]:
    return {"type": "Polygon", "coordinates": list(rings)}


def km2(given: object) -> float:
    return measured(AREA.validate_python(given), limit_km2=None).area_km2


@pytest.mark.parametrize(
    "ring",
    [
        TRIANGLE,
        [[-79.5, -60.0], [70.0, -61.0], [10.0, 75.0], [-79.5, -60.0]],
        [[0.0, -90.0], [40.0, -90.0], [40.0, 90.0], [0.0, 90.0], [0.0, -90.0]],
    ],
)
def test_the_area_is_that_of_proj_on_the_ellipsoid(ring: list[list[float]]) -> None:
    to_equal_area = Transformer.from_crs("OGC:CRS84", "EPSG:6933", always_xy=True)
    dense = shapely.segmentize(shapely.Polygon(ring), 0.01)
    expected = shapely.transform(dense, lambda xy: np.column_stack(to_equal_area.transform(xy[:, 0], xy[:, 1]))).area
    assert km2(polygon(ring)) == pytest.approx(expected / 1e6, rel=1e-6)


def test_every_way_to_write_a_polygon_is_the_same_area() -> None:
    plain = polygon(TRIANGLE)
    feature = {"type": "Feature", "properties": {"name": "x"}, "geometry": plain}
    ways = [
        plain,
        {"type": "MultiPolygon", "coordinates": [[TRIANGLE]]},
        feature,
        {"type": "FeatureCollection", "features": [feature, feature], "name": "twice"},
        {"value": plain, "mediaType": "application/geo+json"},
        polygon([[*place, 1200.0] for place in TRIANGLE]),
    ]
    areas = {measured(AREA.validate_python(way), limit_km2=None).record().model_dump_json() for way in ways}
    assert len(areas) == 1


def test_a_hole_is_not_mapped() -> None:
    hole = [[11.2, 46.2], [11.4, 46.2], [11.3, 46.4], [11.2, 46.2]]
    assert km2(polygon(TRIANGLE, hole)) == pytest.approx(km2(polygon(TRIANGLE)) - km2(polygon(hole)))


def test_a_box_over_the_antimeridian_is_two() -> None:
    over = {"bbox": [179.0, -17.0, -179.0, -16.0]}
    assert km2(over) == pytest.approx(km2({"bbox": [11.0, -17.0, 13.0, -16.0]}))
    area = measured(AREA.validate_python(over), limit_km2=None).record()
    assert len(area.coordinates) == 2


@pytest.mark.parametrize(
    ("ring", "error"),
    [
        ([[46.0, 111.0], [46.2, 112.0], [47.0, 111.0], [46.0, 111.0]], AoiAxesSwapped),
        ([[600000.0, 5e6], [700000.0, 5e6], [6e5, 5.1e6], [6e5, 5e6]], AoiWrongCrs),
        ([[0.0, 0.0], [2.0, 2.0], [2.0, 0.0], [0.0, 2.0], [0.0, 0.0]], AoiInvalid),
        ([[170.0, 0.0], [-170.0, 0.0], [-170.0, 5.0], [170.0, 0.0]], AoiInvalid),
        ([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], AoiInvalid),
    ],
)
def test_a_ring_that_is_no_area_is_refused(ring: list[list[float]], error: type[Exception]) -> None:
    with pytest.raises(error):
        km2(polygon(ring))


def test_a_box_without_height_is_empty() -> None:
    with pytest.raises((AoiEmpty, AoiInvalid)):
        km2({"bbox": [11.0, 46.0, 12.0, 46.0]})


def test_an_area_above_the_limit_is_refused_with_both_numbers() -> None:
    with pytest.raises(Refused) as refused:
        measured(AREA.validate_python(polygon(TRIANGLE)), limit_km2=100.0)
    assert refused.value.status == 422
    assert refused.value.limit == 100.0
    assert refused.value.value == pytest.approx(km2(polygon(TRIANGLE)), abs=1e-3)
