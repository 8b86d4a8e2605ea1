"""BundleManifest: what an exported model is, what it eats and what it gives."""

from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from contract.bands import BANDS, Modality, Unit
from contract.legend import Legend
from contract.record import Record

SCHEMA_VERSION: Final = 1
"""Raised when a worker of today could misread a manifest of tomorrow."""
MANIFEST_NAME: Final = "manifest.json"
PROBABILITIES: Final = "probabilities"
"""The output that every mapping model gives: one band per class, in legend order."""
BANDS_KEY: Final = "landsigma.bands.{}"
"""Metadata of a graph, filled with an input's name: the bands it was trained on, in channel order, with commas between."""

BundleName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
"""A folder's name on every system."""
Precision = Literal["float32", "float16", "int8"]
"""Of a graph's weights and intermediate values; inputs and outputs are float32 always."""


class Provider(StrEnum):
    """What ONNX Runtime computes with, by the names it has for them; best first."""

    TENSORRT = "TensorrtExecutionProvider"
    CUDA = "CUDAExecutionProvider"
    CPU = "CPUExecutionProvider"


class BundleFile(Record):
    """One file of the bundle folder."""

    path: str
    """Relative to the manifest, with forward slashes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise ValueError(f"bundle file {path!r} must lie inside the bundle folder")
        return path


class ModelInput(Record):
    """One modality at the graph's input: float32 (batch, bands, rows, columns) and a validity plane beside it."""

    modality: Modality
    name: str
    """Graph input with the bands."""
    validity: str
    """Graph input (batch, 1, rows, columns), float32: 1 where there is an observation, 0 where there is none."""
    bands: tuple[str, ...] = Field(min_length=1)
    """Band names in channel order."""
    unit: Literal[Unit.REFLECTANCE, Unit.DECIBEL]

    @model_validator(mode="after")
    def _bands_belong(self) -> Self:
        for band in self.bands:
            if band not in BANDS or BANDS[band].modality is not self.modality:
                raise ValueError(f"{band!r} is no band of {self.modality.value}")
        return self


class Encoding(Record):
    """How an output is stored: value = stored * scale + offset."""

    dtype: Literal["uint8", "uint16", "float32"]
    nodata: float
    """Stored number outside the AOI and where no modality was observed."""
    scale: float = Field(default=1.0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)


class ModelOutput(Record):
    """One output of the graph: float32 (batch, bands, rows, columns), and the raster it becomes."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Graph output; the raster's file name without extension."""
    bands: tuple[str, ...] = Field(min_length=1)
    """What each channel is, for band descriptions."""
    unit: str = ""
    description: str = ""
    encoding: Encoding
    always: bool = False
    """Written with every job; otherwise on request."""
    overviews: Literal["AVERAGE", "MODE", "NEAREST"] = "AVERAGE"


class BundleGraph(Record):
    """One ONNX graph of the model: it takes every input, and gives some outputs or all."""

    path: str
    """One of the bundle's files."""
    precision: Precision = "float32"
    providers: tuple[Provider, ...] = Field(default=tuple(Provider), min_length=1)
    """Where it is to be run."""
    outputs: tuple[str, ...] = Field(min_length=1)
    """ONNX Runtime computes what a graph can give, asked for or not: a graph of few outputs is faster."""


class ConformalThreshold(Record):
    """A calibrated conformal threshold."""

    alpha: float = Field(gt=0, lt=1)
    """Nominal rate of sets that miss the true class."""
    method: Literal["raps", "lac"]
    threshold: float = Field(allow_inf_nan=False)
    calibration_blocks: int = Field(gt=0)
    """Number of spatial blocks behind the threshold; pixels are not exchangeable."""


class Temperature(Record):
    """What logits are divided by where a set of sensors sees a pixel."""

    both: float = Field(gt=0)
    s2_alone: float = Field(gt=0)
    s1_alone: float = Field(gt=0)


class Calibration(Record):
    """What was fitted on held-out places after training."""

    temperature: Temperature
    variance_scale: float = Field(gt=0)
    expert_weights: dict[Modality, float]
    conformal: tuple[ConformalThreshold, ...] = ()


class TrainingRecord(Record):
    """Where the weights come from."""

    summary: str
    data: tuple[str, ...]
    """Data sets with their licences."""
    places: str
    code_version: str
    finished: datetime


class BundleManifest(Record):
    """What an exported model is, what it eats and what it gives. Stored as `manifest.json` in the bundle folder."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: BundleName
    version: str
    kind: Literal["trained", "rules", "identity"]
    """"rules" and "identity" make no claim of accuracy, and every product says so."""
    description: str
    licence: str
    """SPDX identifier."""
    files: tuple[BundleFile, ...] = Field(min_length=1)
    graph: str
    """Path of the ONNX graph that gives every output in float32; one of `files`."""
    variants: tuple[BundleGraph, ...] = ()
    """Graphs to run in its place: the first one that is for the provider and gives what is asked for."""
    card: str | None = None
    """Model card, Markdown."""
    evaluation: str | None = None
    """`contract.evaluation.BundleEvaluation`, JSON: what the model is worth on ground that it has not seen."""
    parity: str | None = None
    """How far each graph is from the trained model, and how far it may be, JSON."""
    item: str | None = None
    """STAC item with the MLM extension."""
    inputs: tuple[ModelInput, ...] = Field(min_length=1)
    outputs: tuple[ModelOutput, ...] = Field(min_length=1)
    legend: Legend
    resolution_m: float = Field(gt=0)
    chip_px: int = Field(gt=0)
    """Height and width of every chip; the graph's are fixed to it."""
    batch: int = Field(gt=0)
    """Chips per run."""
    halo_px: int = Field(ge=0)
    """Context per side that is discarded; at least the receptive field's radius."""
    alignment_px: int = Field(gt=0)
    """Stride alignment: chips start on multiples of this on the shared pixel lattice."""
    calibration: Calibration | None = None
    training: TrainingRecord | None = None

    @model_validator(mode="after")
    def _chip_geometry_fits(self) -> Self:
        for label, length in (("chip", self.chip_px), ("halo", self.halo_px)):
            if length % self.alignment_px:
                raise ValueError(f"{label} of {length} px is no multiple of the {self.alignment_px} px alignment")
        if 2 * self.halo_px >= self.chip_px:
            raise ValueError(
                f"halo of {self.halo_px} px leaves nothing of a {self.chip_px} px chip; need 2 * halo < chip"
            )
        return self

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [name for entry in self.inputs for name in (entry.name, entry.validity)]
        names += [entry.name for entry in self.outputs]
        modalities = [entry.modality for entry in self.inputs]
        if len(set(names)) < len(names) or len(set(modalities)) < len(modalities):
            raise ValueError(f"inputs {modalities} and graph names {names} must each be distinct")
        return self

    @model_validator(mode="after")
    def _named_files_are_listed(self) -> Self:
        listed = {file.path for file in self.files}
        named = [("card", self.card), ("evaluation", self.evaluation), ("parity", self.parity), ("item", self.item)]
        for what, path in (*named, *(("graph", graph.path) for graph in self.graphs)):
            if path is not None and path not in listed:
                raise ValueError(f"{what} {path!r} is not among the bundle's files")
        return self

    @model_validator(mode="after")
    def _graphs_give_known_outputs(self) -> Self:
        known = {entry.name for entry in self.outputs}
        for graph in self.variants:
            if unknown := set(graph.outputs) - known:
                raise ValueError(f"graph {graph.path!r} gives {sorted(unknown)}, which are no outputs of the bundle")
        return self

    @model_validator(mode="after")
    def _probabilities_fit_the_legend(self) -> Self:
        count = len(self.output(PROBABILITIES).bands)
        if count != len(self.legend.classes):
            raise ValueError(
                f"{count} probability bands do not fit the {len(self.legend.classes)} classes of the legend"
            )
        return self

    @property
    def title(self) -> str:
        """Name and version, as products quote it."""
        return f"{self.name} {self.version}"

    @property
    def graphs(self) -> tuple[BundleGraph, ...]:
        """Every graph, the preferred ones first and the one that gives every output last."""
        return (*self.variants, BundleGraph(path=self.graph, outputs=tuple(entry.name for entry in self.outputs)))

    def graph_for(self, provider: Provider, outputs: tuple[str, ...]) -> BundleGraph:
        """The graph to run where these outputs are asked for."""
        fitting = (graph for graph in self.graphs if provider in graph.providers and {*outputs} <= {*graph.outputs})
        return next(fitting, self.graphs[-1])

    @property
    def input_shapes(self) -> dict[str, tuple[int, int, int, int]]:
        """Batch, bands, rows and columns of every input of the graphs."""
        sides = (self.chip_px, self.chip_px)
        shapes = {}
        for entry in self.inputs:
            shapes[entry.name] = (self.batch, len(entry.bands), *sides)
            shapes[entry.validity] = (self.batch, 1, *sides)
        return shapes

    def output(self, name: str) -> ModelOutput:
        """The output of that name.

        Raises:
            ValueError: The bundle gives no such output.
        """
        for entry in self.outputs:
            if entry.name == name:
                return entry
        raise ValueError(f"bundle {self.name!r} has no output {name!r}")

    def input(self, modality: Modality) -> ModelInput | None:
        """The input of a modality, or None where the model has no such branch."""
        return next((entry for entry in self.inputs if entry.modality is modality), None)
