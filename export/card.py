"""The model card: what a bundle is, what it was made from, what it is worth and where it fails, in Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from contract.bundle import BundleManifest, TrainingRecord
from contract.evaluation import BundleEvaluation, SplitEvaluation
from contract.legend import WORLDCOVER
from export.evaluation import Split
from export.failures import known_failures, untested
from export.graphs import BundleParity
from export.ground import Ground
from export.parity import measures


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Everything that a model card is written from; nothing in it is written by hand."""

    manifest: BundleManifest
    training: TrainingRecord
    ground: Ground
    splits: tuple[Split, ...]
    evaluation: BundleEvaluation
    """Of the same splits."""
    parity: BundleParity

    def markdown(self) -> str:
        """The card."""
        sections = (
            self._head(),
            self._interface(),
            self._data(),
            self._limits(),
            *(_worth(entry) for entry in self.evaluation.splits),
            self._classes(),
            self._failures(),
            self._making(),
        )
        return "\n".join(line for section in sections for line in (*section, "")).rstrip() + "\n"

    def _head(self) -> Iterator[str]:
        manifest, ground = self.manifest, self.ground
        yield f"# {manifest.title}"
        yield ""
        yield manifest.description
        yield ""
        yield (
            f"**It has learnt its classes from {ground.samples:,} labelled samples of {len(ground.places)} places. What it is "
            "worth elsewhere nobody knows; below is what it is worth on the places it was tested on.**"
        )

    def _interface(self) -> Iterator[str]:
        manifest = self.manifest
        yield "## What it eats and gives"
        yield ""
        inputs = [(entry.modality.label, ", ".join(entry.bands), entry.unit.value) for entry in manifest.inputs]
        yield from _table(("sensor", "bands", "unit"), inputs)
        yield ""
        yield (
            f"Chips of {manifest.chip_px} px of {manifest.resolution_m:g} m, of which {manifest.halo_px} px on every side "
            "are context. Either sensor may miss, for a chip or for single pixels."
        )
        yield ""
        rows = [(f"`{entry.name}`", ", ".join(entry.bands), entry.description) for entry in manifest.outputs]
        yield from _table(("output", "bands", "what it says, and what not"), rows)

    def _data(self) -> Iterator[str]:
        ground = self.ground
        yield "## What it was trained on"
        yield ""
        yield "Data sets, with their licences:"
        yield ""
        yield from (f"- {line}" for line in self.training.data)
        yield ""
        yield "The imagery is of Copernicus Sentinel-1 and Sentinel-2 (free, full and open access)."
        yield ""
        if ground.bounds is not None:
            box = ground.bounds
            yield (
                f"The labels lie between {_degrees(box.west_deg, 'EW')} and {_degrees(box.east_deg, 'EW')}, "
                f"{_degrees(box.south_deg, 'NS')} and {_degrees(box.north_deg, 'NS')}, at these places: "
                f"{', '.join(ground.places)}."
            )
        if ground.days:
            yield f"Their optical images are of {len(ground.days)} days from {ground.days[0]} to {ground.days[-1]}."
        yield ""
        yield f"All places that its weights have seen, labelled or not: {self.training.places}."

    def _limits(self) -> Iterator[str]:
        legend = self.manifest.legend
        absent = [entry.name for entry in WORLDCOVER.classes if entry not in legend.classes]
        unlabelled = [entry.name for entry, count in self.ground.class_px if not count]
        months = {day.month for day in self.ground.days}
        seasons = [f"{month:02}" for month in range(1, 13) if month not in months] if months else []
        yield "## What it was not trained on"
        yield ""
        if legend.name == WORLDCOVER.name and absent:
            yield f"- These classes of {legend.name}: {', '.join(absent)}. They come out as something else."
        if unlabelled:
            yield f"- Any pixel of {', '.join(unlabelled)}, which are in its legend."
        if seasons:
            yield f"- Labelled images of the months {', '.join(seasons)}."
        yield "- Labels of any ground but the places above, or of another sensor, product level or pixel size."
        for split in self.splits:
            if missing := untested(split.evaluation):
                yield f"- Nor was it tested ({split.name}) on {', '.join(missing)}: no label there is of them."

    def _classes(self) -> Iterator[str]:
        trained = {entry.value: count for entry, count in self.ground.class_px}
        yield "## Classes"
        for split in self.splits:
            yield ""
            yield f"With all sensors, on `{split.name}`:"
            yield ""
            rows = [
                (
                    f"{entry.value} {entry.name}",
                    *(f"{count:,}" for count in (trained[entry.value], entry.labelled)),
                    *(_share(figure) for figure in (entry.recall, entry.precision, entry.iou)),
                )
                for entry in split.evaluation.scores[0].classes
            ]
            yield from _table(("class", "px trained on", "px tested on", "recall", "precision", "IoU"), rows)

    def _failures(self) -> Iterator[str]:
        yield "## Known failures"
        for split in self.splits:
            yield ""
            yield f"On `{split.name}`:"
            yield ""
            yield from (
                f"- {line}" for line in known_failures(split.evaluation) or ("none of those that are looked for",)
            )

    def _making(self) -> Iterator[str]:
        manifest, training = self.manifest, self.training
        yield "## How it was made"
        yield ""
        yield f"{training.summary} landsigma {training.code_version}, {training.finished:%Y-%m-%d}."
        calibration = manifest.calibration
        if calibration is not None:
            weights = ", ".join(
                f"{modality.label} {weight:.3f}" for modality, weight in calibration.expert_weights.items()
            )
            yield ""
            temperature = calibration.temperature
            yield (
                f"Calibrated on held-out places: temperature {temperature.both:.3f}, of Sentinel-2 alone "
                f"{temperature.s2_alone:.3f}, of Sentinel-1 alone {temperature.s1_alone:.3f}, variance scale "
                f"{calibration.variance_scale:.3f}, weights of the sensors' experts {weights}."
            )
        yield ""
        yield from _parity(self.parity)
        yield ""
        yield f"Licence: {manifest.licence}. Contains modified Copernicus Sentinel data."


def _worth(split: SplitEvaluation) -> Iterator[str]:
    yield f"## What it is worth: {split.split}"
    yield ""
    yield (
        f"{split.samples:,} samples of {len(split.places)} places that it has not seen ({', '.join(split.places)}), of "
        f"{', '.join(split.archives)}. In brackets: {split.level:.0%} intervals over places."
    )
    yield ""
    names = dict.fromkeys(name for view in split.views for name in view.figures)
    rows: list[tuple[str, ...]] = [("pixels", *(f"{view.pixels:,}" for view in split.views))]
    rows += [(name, *(str(view.figures.get(name, "-")) for view in split.views)) for name in names]
    yield from _table(("", *(view.view for view in split.views)), rows)
    for path in split.pictures:
        yield ""
        yield f"![{path.rpartition('/')[2].removesuffix('.png')}]({quote(path)})"


def _parity(parity: BundleParity) -> Iterator[str]:
    """The largest errors over all chips and masks."""
    yield "How far the graphs are from the model in double precision, over chips of training samples and hard ones:"
    yield ""
    rows = []
    for graph in parity.graphs:
        limit = graph.report.limit
        for provider, output in dict.fromkeys((entry.provider, entry.output) for entry in graph.report.outputs):
            entries = [e for e in graph.report.outputs if (e.provider, e.output) == (provider, output)]
            judged = [each for entry in entries for each in measures(entry, limit)]
            pairs = (_nearest(judged, "mean"), _nearest(judged, "maximum"))
            rows.append((f"`{graph.path}`", graph.report.precision, provider.value, output, *pairs))
    header = ("graph", "precision", "provider", "output", "mean error of its limit", "largest error of its limit")
    yield from _table(header, rows)
    yield from _comparisons(parity)
    untried = dict.fromkeys(provider.value for graph in parity.graphs for provider in graph.report.untried)
    if untried:
        yield ""
        yield f"Not tried, since not at hand: {', '.join(untried)}."


def _nearest(judged: Sequence[tuple[str, float, float]], measure: str) -> str:
    """The error that is nearest to its limit."""
    errors = ((value, limit) for name, value, limit in judged if name == measure)
    value, limit = max(errors, key=lambda error: error[0] / error[1])
    return f"{value:.1e} of {limit:.0e}"


def _comparisons(parity: BundleParity) -> Iterator[str]:
    """What reduced precision costs and gains."""
    if not parity.comparisons:
        return
    yield ""
    yield "Reduced precision beside float32, on training samples, so that only the differences tell anything:"
    yield ""
    rows = []
    for entry in parity.comparisons:
        pairs = [(each.accuracy.value, each.ece.value, each.auroc.value) for each in (entry.float32, entry.reduced)]
        figures = (f"{_share(before)}, {_share(after)}" for before, after in zip(*pairs, strict=True))
        gain = "not timed: no such hardware at hand" if entry.gain is None else f"{entry.gain:.2f}"
        rows.append((entry.precision, *figures, gain, "no" if entry.gain and not entry.is_worthwhile else "yes"))
    yield from _table(("precision", "accuracy", "calibration error", "AUROC", "times as fast", "in the bundle"), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (header, ["---"] * len(header), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _share(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3f}"


def _degrees(value: float, sides: str) -> str:
    """As "12.3 E"; `sides` are the letters of the positive and the negative side."""
    return f"{abs(value):.1f} {sides[value < 0]}"
