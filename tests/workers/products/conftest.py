"""A small job with a hole, published once, and the arrays that went into it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from shapely import MultiPolygon, box

from contract.bands import Modality, Unit
from contract.bundle import BundleFile, BundleManifest, Encoding, ModelInput, ModelOutput
from contract.grid import Grid, Window
from contract.legend import WORLDCOVER
from contract.scene import Area, Radiometry, Scene, SceneAsset
from workers.products.files import artifact
from workers.products.product import Product
from workers.products.publish import write_products
from workers.products.rasters import write_block_raster
from workers.products.spec import RasterSpec, StoredArray, raster_specs
from workers.products.stac import write_item

LEGEND = WORLDCOVER.subset(10, 30, 40, 50, 80)
MANIFEST = BundleManifest(
    name="sigma-test",
    version="0.3",
    kind="rules",
    description="For tests.",
    licence="Apache-2.0",
    files=(BundleFile(path="model.onnx", sha256="0" * 64, size_bytes=1),),
    graph="model.onnx",
    inputs=(ModelInput(modality=Modality.S2, name="s2", validity="s2_valid", bands=("B02",), unit=Unit.REFLECTANCE),),
    outputs=(
        ModelOutput(
            name="probabilities",
            bands=tuple(entry.name for entry in LEGEND.classes),
            encoding=Encoding(dtype="uint8", nodata=255, scale=0.004),
        ),
        ModelOutput(
            name="variance",
            bands=("total", "aleatoric", "embedding"),
            unit="1",
            encoding=Encoding(dtype="uint16", nodata=65535, scale=1e-4),
            always=True,
        ),
    ),
    legend=LEGEND,
    resolution_m=10,
    chip_px=64,
    batch=1,
    halo_px=0,
    alignment_px=1,
)
GRID = Grid(crs="EPSG:32633", left_m=500_000, top_m=5_000_000, resolution_m=10, height=700, width=1100)
BLOCK_PX = 313
"""Odd on purpose: blocks end in the middle of COG tiles and of overview pixels."""
HOLE = Window(row=313, col=626, height=313, width=313)
"""The one block that nobody worked, since no pixel of the AOI lies in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published folder and what is in its rasters."""

    folder: Path
    product: Product
    blocks: tuple[tuple[Window, Path], ...]
    arrays: dict[str, StoredArray]
    """Stored numbers of the whole grid, (bands, rows, cols)."""


def publish(
    work: Path, grid: Grid, area: MultiPolygon, manifest: BundleManifest = MANIFEST, outputs: tuple[str, ...] = ()
) -> Published:
    """Make up a map of a grid and publish it."""
    specs = raster_specs(manifest, outputs)
    arrays = made_up(grid, specs)
    blocks = write_blocks(work / "blocks", grid, specs, arrays)
    values, counts = np.unique(arrays["landcover"], return_counts=True)
    product = Product(
        job_id="3f2a",
        area=area_of(area),
        start=datetime(2024, 6, 1, tzinfo=UTC),
        end=datetime(2024, 7, 1, tzinfo=UTC),
        grid=grid,
        manifest=manifest,
        manifest_sha256="1" * 64,
        specs=specs,
        class_px={int(value): int(count) for value, count in zip(values, counts, strict=True) if value},
        scenes=(scene("S2A_1", Modality.S2), scene("S1A_2", Modality.S1)),
        software={"landsigma": "0.1.0"},
        finished=datetime(2024, 7, 2, tzinfo=UTC),
    )
    folder = work / "products"
    folder.mkdir()
    paths = write_products(folder, product, blocks)
    write_item(folder, product, [artifact(path) for path in paths])
    return Published(folder=folder, product=product, blocks=blocks, arrays=arrays)


def made_up(grid: Grid, specs: tuple[RasterSpec, ...]) -> dict[str, StoredArray]:
    """Patches of classes, variances that are high between them, and nodata at the hole and along the left edge."""
    rng = np.random.default_rng(7)
    fields = gaussian_filter(rng.standard_normal((len(LEGEND.classes), *grid.shape)), (0, 9, 9))
    ranked = np.sort(fields / fields.std(), axis=0)
    missing = np.zeros(grid.shape, bool)
    missing[:, :20] = True
    missing[HOLE.slices_in(grid.window)] = True
    landcover = np.array([entry.value for entry in LEGEND.classes], np.uint8)[fields.argmax(axis=0)]
    total = 8000 * np.exp(-3 * (ranked[-1] - ranked[-2]))
    variance = np.stack([total, 0.75 * total, 0.25 * total]).round().astype(np.uint16)
    odds = np.exp(2 * fields / fields.std())
    probabilities = (250 * odds / odds.sum(axis=0)).round().astype(np.uint8)
    sensors = rng.integers(0, 4, grid.shape)
    quality = np.stack([5 * (sensors & 1), 3 * (sensors >> 1), sensors]).astype(np.uint8)
    arrays: dict[str, StoredArray] = {
        "landcover": landcover[None],
        "probabilities": probabilities,
        "variance": variance,
        "quality": quality,
    }
    for spec in specs:
        arrays[spec.name][:, missing] = spec.nodata
    return arrays


def write_blocks(
    work: Path, grid: Grid, specs: tuple[RasterSpec, ...], arrays: dict[str, StoredArray]
) -> tuple[tuple[Window, Path], ...]:
    """The windows and folders of every block but the hole."""
    blocks = []
    for row in range(0, grid.height, BLOCK_PX):
        for col in range(0, grid.width, BLOCK_PX):
            window = Window(
                row=row, col=col, height=min(BLOCK_PX, grid.height - row), width=min(BLOCK_PX, grid.width - col)
            )
            if window == HOLE:
                continue
            folder = work / f"{row}-{col}"
            folder.mkdir(parents=True)
            for spec in specs:
                part = arrays[spec.name][:, *window.slices_in(grid.window)]
                write_block_raster(folder / f"{spec.name}.tif", spec, part, grid, window)
            blocks.append((window, folder))
    return tuple(blocks)


def area_of(geometry: MultiPolygon) -> Area:
    """The record of a geometry."""
    return Area.model_validate(geometry.__geo_interface__)


def scene(name: str, modality: Modality) -> Scene:
    """A scene with nothing in it."""
    radiometry = Radiometry(unit=Unit.REFLECTANCE, reason="test")
    return Scene(
        id=name,
        modality=modality,
        collection="test",
        acquired=datetime(2024, 6, 9, tzinfo=UTC),
        platform="test",
        footprint=area_of(MultiPolygon([box(14, 44, 16, 46)])),
        assets=(SceneAsset(band="B02", href="/none.tif", radiometry=radiometry),),
        item_href=f"https://example.com/items/{name}.json",
    )


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A map of 700 x 1100 px of a rules bundle, with the probabilities."""
    area = MultiPolygon([box(15.0, 45.08, 15.14, 45.15)])
    return publish(tmp_path_factory.mktemp("job"), GRID, area, outputs=("probabilities",))
