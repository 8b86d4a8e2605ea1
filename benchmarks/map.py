"""How fast `landsigma map` is, against its own parts, and how much memory it takes.

One Sentinel-2 date of four bands and one Sentinel-1 pass over a whole 10980 x 10980 px tile are mapped by the command
line in a process of its own. Beside it stand (a) the model alone on as many chips and (b) reading and compositing alone.
Prints one JSON object.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import rasterio
from stand_in import write_stand_in

from contract.request import MapOptions, MapRequest
from workers.aoi import geometry_of, read_aoi
from workers.bundle import find_bundle
from workers.composite import build_composite
from workers.demo import catalogue
from workers.demo.scene import make_demo_scene
from workers.demo.scenes import Swath
from workers.grid import cut_chips, outside_area, project_area
from workers.model import Model
from workers.plan import Draft, bands_to_read, draft
from workers.reading import SceneReader
from workers.sighting import sightings

ROOT = Path(__file__).resolve().parents[1]
TILE_PX = 10980
START, END = "2021-04-01", "2021-09-01"


def main() -> None:
    """Make the tile, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=TILE_PX, help="rows and columns of the scene, px")
    parser.add_argument("--bundle", help="a bundle; default: random weights at the cost of a trained encoder")
    parser.add_argument("--block-px", type=int, default=2048)
    parser.add_argument("--work", type=Path, help="folder to keep scenes in between runs")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = chosen.work or Path(temporary)
        bundle = chosen.bundle or _stand_in(work)
        tile = _tile(work, chosen.size)
        print(json.dumps(measure(tile, bundle, chosen.size, chosen.block_px, work / "map"), indent=2))


def measure(tile: Path, bundle: str, size: int, block_px: int, out: Path) -> dict[str, float | str]:
    """Wall times, rates and memory of the whole and of its parts."""
    left, top = catalogue.LEFT_M, catalogue.TOP_M
    corners = [(left, top), (left + size * 10, top), (left + size * 10, top - size * 10), (left, top - size * 10)]
    ring = ", ".join(f"{x} {y}" for x, y in [*corners, corners[0]])
    aoi = f"SRID=32632;POLYGON(({ring}))"
    request = MapRequest(
        area=read_aoi(aoi, max_area_km2=1e6).area(),
        start=datetime.fromisoformat(START).replace(tzinfo=UTC),
        end=datetime.fromisoformat(END).replace(tzinfo=UTC),
        source=str(tile),
        bundle=bundle,
        options=MapOptions(block_px=block_px),
    )
    model = Model(find_bundle(bundle, (ROOT / "deploy/models",)))
    drafted = draft(request, model.bundle)
    model_s, chips = _model_alone(model, drafted)
    read_s = _reading_alone(request, model, drafted)
    wall_s, peak_bytes, report = _whole(aoi, request, out)
    pixels = report["mapped_px"]
    return {
        "size_px": size,
        "mapped_px": pixels,
        "wall_s": wall_s,
        "mpx_per_s": pixels / wall_s / 1e6,
        "km2_per_s": pixels / wall_s / 1e4,
        "peak_rss_gib": peak_bytes / 2**30,
        "model_alone_s": model_s,
        "chips": chips,
        "reading_alone_s": read_s,
        "ratio_to_the_longer": wall_s / max(model_s, read_s),
        **{f"{name}_s": seconds for name, seconds in report["timings_s"].items()},
        "provider": report["provider"],
    }


def _model_alone(model: Model, drafted: Draft) -> tuple[float, int]:
    """The time of as many batches as the job runs."""
    manifest, random = model.bundle.manifest, np.random.default_rng(0)
    batch = {name: random.random(zeros.shape, np.float32) for name, zeros in model.empty_batch().items()}
    chips = [
        sum(
            1
            for _ in cut_chips(
                block,
                drafted.plan.grid,
                chip_px=manifest.chip_px,
                halo_px=manifest.halo_px,
                alignment_px=manifest.alignment_px,
            )
        )
        for block in drafted.blocks
    ]
    batches = sum(-(-count // manifest.batch) for count in chips)
    outputs = model.usual_outputs
    begun = time.perf_counter()
    with ThreadPoolExecutor(model.lanes(outputs)) as pool:
        for _ in pool.map(lambda _: model.predict(batch, outputs), range(batches)):
            pass
    return time.perf_counter() - begun, sum(chips)


def _reading_alone(request: MapRequest, model: Model, drafted: Draft) -> float:
    """The time of all composites, halo included, one block after the other."""
    plan, reader = drafted.plan, SceneReader()
    area = project_area(geometry_of(request.area), plan.grid.crs)
    sighted = sightings(plan.scenes, plan.grid)
    begun = time.perf_counter()
    for block in drafted.blocks:
        window = block.grown(model.bundle.manifest.halo_px)
        build_composite(
            sighted,
            grid=plan.grid,
            window=window,
            bands=bands_to_read(request, model.bundle.manifest),
            options=request.options,
            reader=reader,
            outside=outside_area(area, plan.grid, window),
            stop=threading.Event(),
        )
    return time.perf_counter() - begun


def _whole(aoi: str, request: MapRequest, out: Path) -> tuple[float, int, dict]:
    """Wall time, peak resident memory and report of the command line."""
    command = [
        sys.executable,
        "-m",
        "landsigma",
        "map",
        aoi,
        "--bundle",
        request.bundle,
        "--source",
        request.source,
        "--from",
        START,
        "--to",
        END,
        "--out",
        out,
        "--block-px",
        str(request.options.block_px),
        "--max-area-km2",
        "1e6",
    ]
    subprocess.run(["rm", "-rf", out], check=True)
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall_s = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return wall_s, peak, json.loads((out / "report.json").read_text())


def _stand_in(work: Path) -> str:
    write_stand_in(work / "stand-in")
    return str(work / "stand-in")


def _tile(work: Path, size: int) -> Path:
    """A catalogue of one optical and one radar pass: a generated landscape, repeated until it fills the tile."""
    folder = work / f"tile-{size}"
    if (folder / "catalog.json").is_file():
        return folder / "catalog.json"
    demo = make_demo_scene(work / "landscape")
    optical = _repeated(demo.catalogue.parent, "S2A_MSIL2A_20210424_demo", folder, size)
    radar = _repeated(demo.catalogue.parent, "S1B_IW_20210719_demo", folder, size)
    return catalogue.write_catalogue(folder, [optical], [radar])


def _repeated(landscape: Path, name: str, folder: Path, size: int) -> pystac.Item:
    source = pystac.Item.from_file(next(landscape.rglob(f"{name}.json")))
    item = catalogue.make_item(name, source.datetime, catalogue.footprint((size, size), Swath()), source.properties)
    for key, asset in source.assets.items():
        with rasterio.open(asset.get_absolute_href()) as raster:
            pixels, step, nodata = raster.read(1), round(raster.res[0]), raster.nodata
        rows = size * 10 // step
        repeats = [-(-rows // length) for length in pixels.shape]
        path = folder / "assets" / name / f"{key}.tif"
        tiled = np.tile(pixels, repeats)[:rows, :rows]
        catalogue.write_cog(path, tiled, nodata=nodata, resolution_m=step, categories=key == "SCL")
        catalogue.add_asset(item, key, path, tiled.shape, step)
    return item


if __name__ == "__main__":
    main()
