"""What a map says of labelled patches, beside what the evaluation says of the same pixels with the same bundle.

    python benchmarks/agreement.py deploy/models/vdual-simclr ../shared/data/reben ../shared/stac/reben/catalog.json

Accuracy and mean variances are in points, hundredths. Around a patch neither sees anything.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import rasterio
from rasterio.warp import transform_geom

from contract.bundle import PROBABILITIES, Provider
from contract.grid import Grid
from contract.ledger import Ledger
from contract.request import MapOptions, MapRequest
from export.session import GraphPredictor, GraphSession
from training.data.rasters import read_grid
from training.data.reben import ReBEN
from training.data.sample import BandChoice, Sample
from training.evaluate.answers import Answers
from training.evaluate.exam import Conditions, Exam
from training.tensors import Predictor
from workers.aoi import read_aoi
from workers.bundle import Bundle, find_bundle
from workers.folder import JobFolder
from workers.reading import SceneReader
from workers.run import run_in_folder
from workers.worker import Worker

DAYS: Final = timedelta(days=3)
"""Before and after the optical image: the radar image is of one of these days, and no other image of the patch is."""
VARIANCE: Final = "variance"
FIGURES: Final = ("accuracy", "total", "aleatoric", "embedding")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """A labelled patch and where it lies."""

    sample: Sample
    grid: Grid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Said:
    """What is said of labelled pixels (n), and what is true of them."""

    label: npt.NDArray[np.int64]
    """True class, index in the legend."""
    classes: npt.NDArray[np.int64]
    """Most probable class; -1 where there is no answer."""
    variances: npt.NDArray[np.float64]
    """(3, n): total, aleatoric, embedding."""

    def figures(self) -> npt.NDArray[np.float64]:
        """`FIGURES` in points, (4,)."""
        return 100 * np.array([(self.classes == self.label).mean(), *self.variances.mean(axis=1)])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="folder")
    parser.add_argument("archive", type=Path, help="folder of reBEN")
    parser.add_argument("catalogue", help="the same patches as STAC: path or URL")
    parser.add_argument("--split", default="val")
    chosen = parser.parse_args()
    bundle = find_bundle(str(chosen.bundle.resolve()), ())
    print(f"| patch | by | pixels | {' | '.join(FIGURES)} | class as on the map |\n{'| --- ' * 8}|")
    predictor, every = graph_predictor(bundle), []
    for patch in patches(chosen.archive, bundle, chosen.split):
        every.append(compared(patch, bundle, predictor=predictor, catalogue=chosen.catalogue))
        print_rows(patch.sample.entry.name, every[-1])
    print_rows("all", {by: join([said[by] for said in every]) for by in every[0]})


def patches(archive: Path, bundle: Bundle, split: str) -> Iterator[Patch]:
    """The patches on one side of the archive's split, in the bundle's bands."""
    reben = ReBEN(archive, bands_of(bundle))
    for entry in reben.entries:
        if entry.split == split:
            lies = read_grid(entry.files[0])
            rows, cols = lies.shape
            left_m, top_m, resolution_m = lies.transform.c, lies.transform.f, lies.transform.a
            grid = Grid(
                crs=str(lies.crs), left_m=left_m, top_m=top_m, resolution_m=resolution_m, height=rows, width=cols
            )
            yield Patch(sample=reben.read(entry), grid=grid)


def compared(patch: Patch, bundle: Bundle, *, predictor: Predictor, catalogue: str) -> dict[str, Said]:
    """What the map and the evaluation say of every labelled pixel of a patch."""
    answers = examined(patch, bundle, predictor)
    classes, variances = mapped(patch, bundle, catalogue)
    row, col = answers.position.T
    on_map = Said(label=answers.label, classes=classes[row, col], variances=variances[:, row, col])
    return {"map": on_map, "evaluation": said_by(answers)}


def examined(patch: Patch, bundle: Bundle, predictor: Predictor) -> Answers:
    """What the evaluation says of a patch, pixel by pixel."""
    manifest = bundle.manifest
    conditions = Conditions(
        bands=bands_of(bundle),
        halo_px=manifest.halo_px,
        alignment_px=manifest.alignment_px,
        pixels_per_sample=patch.grid.window.size_px,
    )
    exam = Exam(predictor=predictor, samples=[patch.sample], legend=manifest.legend, conditions=conditions)
    return exam.answers()


def mapped(patch: Patch, bundle: Bundle, catalogue: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Classes (rows, cols), as `Said` has them, and variances (3, rows, cols) of a map of the patch."""
    bounds = patch.grid.bounds_m(patch.grid.window)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "map"
        run(request(patch, bundle, catalogue), JobFolder(out))
        with rasterio.open(out / "landcover.tif") as landcover, rasterio.open(out / f"{VARIANCE}.tif") as variance:
            values = landcover.read(1, window=landcover.window(*bounds))
            stored = variance.read(window=variance.window(*bounds))
            variances = stored * np.array(variance.scales)[:, None, None]
    classes = [entry.value for entry in bundle.manifest.legend.classes]
    index = np.full(256, -1)
    index[classes] = np.arange(len(classes))
    return index[values], variances


def run(order: MapRequest, folder: JobFolder) -> None:
    """Make a map in this process."""

    def make_worker(ledger: Ledger) -> Worker:
        return Worker(name="agreement", ledger=ledger, folder_of=lambda _: folder, shelves=(), reader=SceneReader())

    run_in_folder(order, folder, make_worker, resume=False)


def request(patch: Patch, bundle: Bundle, catalogue: str) -> MapRequest:
    """A map of the patch, from the images that the archive has of it."""
    left, bottom, right, top = patch.grid.bounds_m(patch.grid.window)
    ring = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    outline = transform_geom(patch.grid.crs, "EPSG:4326", {"type": "Polygon", "coordinates": [ring]})
    acquired = patch.sample.entry.acquired
    if acquired is None:
        raise ValueError(f"nobody knows when {patch.sample.entry.name} was seen")
    day = datetime.combine(acquired, time(), UTC)
    return MapRequest(
        area=read_aoi(json.dumps(outline), max_area_km2=100).area(),
        start=day - DAYS,
        end=day + DAYS + timedelta(days=1),
        source=catalogue,
        bundle=str(bundle.folder),
        options=MapOptions(crs=patch.grid.crs),
    )


def graph_predictor(bundle: Bundle) -> GraphPredictor:
    """The graph that a map on a CPU runs."""
    graph = bundle.manifest.graph_for(Provider.CPU, (PROBABILITIES, VARIANCE))
    return GraphPredictor(GraphSession(onnx.load(bundle.folder / graph.path)))


def bands_of(bundle: Bundle) -> BandChoice:
    """What the bundle reads."""
    bands = {entry.modality.value: entry.bands for entry in bundle.manifest.inputs}
    return BandChoice(s2=bands["s2"], s1=bands["s1"])


def said_by(answers: Answers) -> Said:
    """The answers of an evaluation."""
    variances = np.stack([answers.total, answers.aleatoric, answers.embedding]).astype(np.float64)
    return Said(label=answers.label, classes=answers.predicted, variances=variances)


def join(parts: Sequence[Said]) -> Said:
    """The pixels of all parts."""
    return Said(
        label=np.concatenate([part.label for part in parts]),
        classes=np.concatenate([part.classes for part in parts]),
        variances=np.concatenate([part.variances for part in parts], axis=1),
    )


def print_rows(name: str, said: dict[str, Said]) -> None:
    """A line for each of those who say something of a patch."""
    on_map = said["map"]
    for by, each in said.items():
        figures = " | ".join(f"{figure:.2f}" for figure in each.figures())
        same = (each.classes == on_map.classes).mean()
        print(f"| {name} | {by} | {len(each.label)} | {figures} | {same:.2%} |", flush=True)


if __name__ == "__main__":
    main()
