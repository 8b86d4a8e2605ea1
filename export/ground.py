"""Ground: where and when the labelled training samples are of, and what they show."""

from dataclasses import dataclass
from datetime import date

from contract.legend import LandCoverClass
from training.config import TrainingConfig
from training.data.pool import SamplePool
from training.data.sample import Footprint
from training.data.splits import few_labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What labels a model has seen."""

    samples: int
    places: tuple[str, ...]
    bounds: Footprint | None
    """Of all samples together; None where no archive tells. West is above east across the antimeridian."""
    days: tuple[date, ...]
    """Of the optical images, each once, sorted; none where no archive tells."""
    class_px: tuple[tuple[LandCoverClass, int], ...]
    """Labelled pixels of each class of the model."""

    @classmethod
    def of(cls, config: TrainingConfig, pool: SamplePool) -> "Ground":
        """That of the labels that a configuration takes out of its labelled samples. Reads every label map."""
        labelled, _ = pool.parted(few_labels(pool.entries, config.probe.labels, config.seed))
        entries = labelled.entries
        counts = labelled.class_pixels(config.legend)
        return cls(
            samples=len(entries),
            places=labelled.places,
            bounds=_bounds([entry.footprint for entry in entries if entry.footprint]),
            days=tuple(sorted({entry.acquired for entry in entries if entry.acquired})),
            class_px=tuple(zip(config.legend.classes, map(int, counts), strict=True)),
        )


def _bounds(footprints: list[Footprint]) -> Footprint | None:
    if not footprints:
        return None
    # Longitudes are cut where nothing lies: at the antimeridian unless samples lie on both sides of it.
    crosses = any(each.west_deg > each.east_deg for each in footprints)
    east_of = [each.west_deg % 360 if crosses else each.west_deg for each in footprints]
    west_of = [each.east_deg % 360 if crosses else each.east_deg for each in footprints]
    return Footprint(
        west_deg=_wrapped(min(east_of)),
        south_deg=min(each.south_deg for each in footprints),
        east_deg=_wrapped(max(west_of)),
        north_deg=max(each.north_deg for each in footprints),
    )


def _wrapped(lon_deg: float) -> float:
    return lon_deg - 360 if lon_deg > 180 else lon_deg  # noqa: PLR2004  half a turn
