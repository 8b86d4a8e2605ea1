"""Product: what the published folder of a job tells about itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from contract.bundle import BundleManifest
from contract.grid import Grid
from contract.scene import Area, Scene
from workers.products.spec import RasterSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What the published folder of a job tells about itself."""

    job_id: str
    area: Area
    start: datetime
    end: datetime
    """First instant after the span."""
    grid: Grid
    manifest: BundleManifest
    manifest_sha256: str
    specs: tuple[RasterSpec, ...]
    class_px: Mapping[int, int]
    """Pixels for each legend value."""
    scenes: tuple[Scene, ...]
    """Those that gave at least one pixel."""
    software: Mapping[str, str]
    """Package versions."""
    finished: datetime

    @property
    def last_instant(self) -> datetime:
        """The last second of the span; STAC and people count it in."""
        return self.end - timedelta(seconds=1)

    @property
    def attribution(self) -> str:
        """The notice for the years of the scenes."""
        return attribution([scene.acquired.year for scene in self.scenes] or [self.start.year])

    @property
    def highest_variance(self) -> float:
        """The total variance where all classes are equally probable: 1 - 1/classes."""
        return 1 - 1 / len(self.manifest.legend.classes)

    def spec(self, name: str) -> RasterSpec | None:
        """The raster of that name, or None where the job does not write it."""
        return next((spec for spec in self.specs if spec.name == name), None)

    def share(self, value: int) -> float:
        """Share of a class in the mapped pixels, 0..1."""
        return self.class_px.get(value, 0) / max(1, sum(self.class_px.values()))


def attribution(years: Iterable[int]) -> str:
    """The notice that the Copernicus Sentinel data terms ask for (Legal notice, 2.b: 'contains modified')."""
    known = sorted(set(years))
    span = str(known[0]) if len(known) == 1 else f"{known[0]}-{known[-1]}"
    return f"Contains modified Copernicus Sentinel data {span}"
