"""From a calibrated checkpoint and its evaluations to a bundle: graphs through the gate, figures, card, item, manifest."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pydantic import Field

from contract.bundle import BundleFile, BundleManifest, BundleName, ModelInput, TrainingRecord
from contract.errors import BundleInvalid, CheckpointInvalid
from contract.evaluation import BundleEvaluation
from contract.record import Record
from export.card import Card
from export.evaluation import Split, read_splits, write_splits
from export.folder import unfinished, write_file, write_graph, write_manifest
from export.graphs import BundleParity, GraphMaker, GraphParity, Reduced, TriedGraph
from export.ground import Ground
from export.outputs import model_outputs
from export.stac import ITEM_NAME, bundle_item
from export.torch_graph import conformal_bands
from training.checkpoint import Provenance, load_model
from training.config import TrainingConfig
from training.evaluate.exam import Conditions
from training.evaluate.report import EVALUATION_NAME
from training.models.cost import kflop_per_px, parameter_count
from training.models.mapping import MappingModel
from training.setup import labelled_pool
from training.stages import conditions

CARD_NAME: Final = "README.md"
"""So that whoever browses the folder sees it."""
PARITY_NAME: Final = "parity.json"
CHIP_PX: Final = 256
BATCH: Final = 1
RESOLUTION_M: Final = 10.0
"""Of every training archive."""


class BundleOrder(Record):
    """What is to be bundled, and under what name."""

    checkpoint: Path
    """Calibrated: model.pt."""
    evaluations: tuple[Path, ...] = Field(min_length=1)
    """Folders that `landsigma evaluate` wrote; each is called by its folder's name."""
    name: BundleName
    version: str = Field(min_length=1)
    licence: str = "Apache-2.0"
    """Of the weights, SPDX."""
    variants: tuple[Reduced, ...] = ()
    """Precisions to try beside float32."""
    chip_px: int = Field(default=CHIP_PX, gt=0)
    batch: int = Field(default=BATCH, gt=0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """The checkpoint of an order, opened."""

    model: MappingModel
    provenance: Provenance
    splits: tuple[Split, ...]
    ground: Ground
    inputs: tuple[ModelInput, ...]
    graphs: tuple[TriedGraph, ...]
    """All that were asked for; the last one gives every output."""
    training: TrainingRecord

    @property
    def shipped(self) -> tuple[TriedGraph, ...]:
        """The graphs that go into the bundle."""
        return tuple(graph for graph in self.graphs if graph.is_shipped)

    @property
    def parity(self) -> BundleParity:
        """What the graphs are off by."""
        reports = tuple(GraphParity(path=graph.entry.path, report=graph.report) for graph in self.shipped)
        return BundleParity(
            graphs=reports, comparisons=tuple(graph.comparison for graph in self.graphs if graph.comparison)
        )


def export_bundle(order: BundleOrder, out: Path) -> BundleManifest:
    """The manifest of the bundle written to `out`; nothing is written unless every graph passed the parity gate.

    The labelled samples that the checkpoint was trained on must still be where they were: graphs are tried on them.

    Raises:
        BundleExists: Something lies at `out`.
        CheckpointInvalid: It cannot be read, or is not calibrated.
        BundleInvalid: The chip is too small for the model's halo, or does not fit its strides.
        EvaluationUnfit: An evaluation is not of this checkpoint.
        ArchiveInvalid: The labelled samples are gone.
        ParityFailed: A graph does not give what the model gives.
    """
    with unfinished(out) as folder:
        source = open_source(order)
        graphs = [write_graph(folder, graph.model, graph.entry.path) for graph in source.shipped]
        parity = write_file(folder, PARITY_NAME, (source.parity.model_dump_json(indent=2) + "\n").encode())
        evaluation, files = write_splits(folder, source.splits)
        manifest = _manifest(order, source, (*graphs, parity, *files))
        manifest = _documented(folder, manifest, source, evaluation)
        write_manifest(folder, manifest)
    return manifest


def open_source(order: BundleOrder) -> Source:
    """The checkpoint of an order with its evaluations, its training ground and its graphs.

    Raises:
        LandsigmaError: As `export_bundle`.
    """
    model, provenance = load_model(order.checkpoint)
    if provenance.calibration is None:
        raise CheckpointInvalid(
            path=str(order.checkpoint), reason="is not calibrated; run landsigma train calibrate, and give model.pt"
        )
    _refuse_chip(order, conditions(model))
    splits = read_splits(order.evaluations, provenance)
    pool = labelled_pool(provenance.config)
    maker = GraphMaker(model=model, provenance=provenance, pool=pool, chip_px=order.chip_px)
    return Source(
        model=model,
        provenance=provenance,
        splits=splits,
        ground=Ground.of(provenance.config, pool),
        inputs=maker.inputs(),
        graphs=maker.tried(order.variants),
        training=_training(order.checkpoint, model, provenance),
    )


def _refuse_chip(order: BundleOrder, asked: Conditions) -> None:
    if order.chip_px % asked.alignment_px or order.chip_px <= 2 * asked.halo_px:
        raise BundleInvalid(
            order.name,
            f"chips of {order.chip_px} px do not fit the model; need a multiple of {asked.alignment_px} px above twice the "
            f"halo of {asked.halo_px} px",
        )


def architecture(config: TrainingConfig) -> str:
    """The name of a model's kind."""
    return "VDual-SimCLR" if config.model.variational else "Dual-SimCLR"


def _manifest(order: BundleOrder, source: Source, files: Sequence[BundleFile]) -> BundleManifest:
    """The manifest, as yet without card and item."""
    model, calibration = source.model, source.provenance.calibration
    *variants, full = (graph.entry for graph in source.shipped)
    asked = conditions(model)
    bands = conformal_bands(calibration.conformal) if calibration else ()
    return BundleManifest(
        name=order.name,
        version=order.version,
        kind="trained",
        description=_description(source),
        licence=order.licence,
        files=tuple(files),
        graph=full.path,
        variants=tuple(variants),
        evaluation=EVALUATION_NAME,
        parity=PARITY_NAME,
        inputs=source.inputs,
        outputs=model_outputs(model.legend, full.outputs, bands),
        legend=model.legend,
        resolution_m=RESOLUTION_M,
        chip_px=order.chip_px,
        batch=order.batch,
        halo_px=asked.halo_px,
        alignment_px=asked.alignment_px,
        calibration=calibration,
        training=source.training,
    )


def _documented(folder: Path, manifest: BundleManifest, source: Source, evaluation: BundleEvaluation) -> BundleManifest:
    """The manifest with card and item, which are written from it."""
    card = Card(
        manifest=manifest,
        training=source.training,
        ground=source.ground,
        splits=source.splits,
        evaluation=evaluation,
        parity=source.parity,
    )
    manifest = _with(manifest, write_file(folder, CARD_NAME, card.markdown().encode()), "card")
    kind, parameters = architecture(source.provenance.config), parameter_count(source.model)
    item = bundle_item(manifest, source.ground, architecture=kind, parameters=parameters)
    content = json.dumps(item.to_dict(include_self_link=False, transform_hrefs=False), indent=2) + "\n"
    return _with(manifest, write_file(folder, ITEM_NAME, content.encode()), "item")


def _with(manifest: BundleManifest, file: BundleFile, field: str) -> BundleManifest:
    return manifest.model_copy(update={"files": (*manifest.files, file), field: file.path})


def _description(source: Source) -> str:
    model, ground = source.model, source.ground
    bands = model.encoder.bands
    worth = "; ".join(
        f"on {len(split.evaluation.places)} unseen places ({split.name}) {split.evaluation.scores[0].overall_accuracy} of "
        "the pixels are right"
        for split in source.splits
    )
    return (
        f"Land cover in {len(model.legend.classes)} classes of {model.legend.name}, with the variance of every pixel, from "
        f"Sentinel-2 ({', '.join(bands.s2)}) and Sentinel-1 ({', '.join(bands.s1)}), either of which may miss. "
        f"{architecture(source.provenance.config)} with a linear probe, learnt from {ground.samples} labelled samples of "
        f"{len(ground.places)} places; {worth}."
    )


def _training(checkpoint: Path, model: MappingModel, provenance: Provenance) -> TrainingRecord:
    config = provenance.config
    pretrain, probe = config.pretrain, config.probe
    return TrainingRecord(
        summary=(
            f"{architecture(config)}, {parameter_count(model):,} numbers, {kflop_per_px(model, CHIP_PX):.1f} thousand "
            f"floating-point operations a pixel. Recipe {config.name!r}, seed {config.seed}: pre-training of "
            f"{pretrain.optimiser.steps} steps of {pretrain.chips} pairs without labels, probe of {probe.steps} "
            f"batches of {probe.chips} chips ({probe.encoder} encoder), calibration over {config.calibrate.folds} folds of "
            "places."
        ),
        data=provenance.data,
        places=", ".join(provenance.places),
        code_version=version("landsigma"),
        finished=datetime.fromtimestamp(checkpoint.stat().st_mtime, UTC),
    )
