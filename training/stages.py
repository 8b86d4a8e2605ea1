"""The stages of a model: pre-training, probe, calibration. Each ends in a checkpoint that the next one starts from."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from lightning_fabric import Fabric

from contract.errors import CheckpointInvalid, ConfigInvalid
from training.balance import balanced
from training.calibrate import Fold, calibrate
from training.checkpoint import Provenance, load_encoder, load_model, save
from training.config import TrainingConfig
from training.curves import draw_curves
from training.data.chips import Batch, Cut
from training.data.pool import SamplePool
from training.data.splits import few_labels, place_folds
from training.discriminant import Gathered, fit_probe, gather
from training.ensemble import doubt_of, fit_latents
from training.evaluate.exam import Conditions
from training.models.encoder import Encoder
from training.models.mapping import MappingModel
from training.pretrain import pretrain
from training.probe import class_weights, fine_tune
from training.raw_noise import fit_raw_noise
from training.run import Run, Watch
from training.setup import Schedule, batches, labelled_pool, new_encoder, some_of, start, unlabelled_pool
from training.variances import fit_variances

ENCODER_NAME: Final = "encoder.pt"
PROBE_NAME: Final = "probe.pt"
MODEL_NAME: Final = "model.pt"
LEARNT: Final = 0.5
"""Share of a class's pixels from which a fold's model has learnt it."""
OF_ONE_RUN: Final[Mapping[str, Any]] = {
    "hardware": True,
    "pretrain": {"optimiser": {"steps"}},
    "probe": {"optimiser": {"steps"}},
}
"""What may change before a run goes on: where it runs, and how long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What every stage needs."""

    config: TrainingConfig
    out: Path
    """Folder of the model's checkpoints; each stage keeps its log and its state in a folder of its own below."""
    resume: bool = False
    """Go on from the last state, rather than anew."""
    watch: Watch = lambda _step, _terms: None
    stop: Callable[[], bool] = lambda: False
    """Asked after each step; True ends the stage there, with its state kept."""

    def run(self, name: str, start_from: Path | None = None) -> Run:
        """The run of that name. A state that it kept is of use to the same recipe and the same encoder alone."""
        folder = self.out / name
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(self.config.model_dump_json(exclude=OF_ONE_RUN).encode())
        digest.update(start_from.read_bytes() if start_from else b"")
        run = Run(seed=self.config.seed, folder=folder, recipe=digest.hexdigest(), watch=self.watch, stop=self.stop)
        if not self.resume:
            run.forget()
        return run


def pretrain_stage(stage: Stage) -> Path:
    """The path of `encoder.pt`, pre-trained on every pair that the configuration names.

    Raises:
        TrainingError: Of data, configuration or loss.
    """
    config = stage.config
    fabric = start(config.hardware)
    pool = SamplePool.join([labelled_pool(config), unlabelled_pool(config)]).paired()
    run = stage.run("pretrain")
    trained = pretrain_on(fabric, config, pool, run)
    provenance = Provenance(config=config, data=pool.archives, places=pool.places)
    return _kept(fabric, stage.out / ENCODER_NAME, trained, provenance, run)


def probe_stage(stage: Stage, encoder_path: Path | None) -> Path:
    """The path of `probe.pt`: the classes learnt on an encoder, or from scratch where no path is given.

    Raises:
        TrainingError: Of data, configuration, checkpoint or loss.
    """
    config = stage.config
    fabric = start(config.hardware)
    pool = labelled_pool(config)
    encoder, provenance = _encoder(config, pool, encoder_path)
    run = stage.run("probe", encoder_path)
    return _kept(fabric, stage.out / PROBE_NAME, fit_on(fabric, config, encoder, pool, run), provenance, run)


def calibrate_stage(stage: Stage, encoder_path: Path | None) -> Path:
    """The path of `model.pt`: the probe of `probe_stage` with what was fitted on held-out places.

    The probe is fitted once more for each fold, on the same encoder. The encoder may have seen a fold's pixels in
    pre-training, but never its labels. Doubt and the spread of the embeddings are fitted on all places.

    Raises:
        TrainingError: Of data, configuration, checkpoint or loss.
    """
    config = stage.config
    fabric = start(config.hardware)
    model, provenance = load_model(stage.out / PROBE_NAME)
    _refuse_other_recipe(stage.out / PROBE_NAME, provenance, config)
    pool = labelled_pool(config)
    try:
        parts = place_folds(pool.entries, config.calibrate.folds, config.seed)
    except ValueError as error:
        raise ConfigInvalid(
            path=config.name,
            reason=f"calibrate.folds is {config.calibrate.folds}, but the labelled samples are of {len(pool.places)} "
            f"places ({error}); lower folds, or add places",
        ) from error
    if encoder_path:
        _refuse_other_encoder(load_encoder(encoder_path)[0], model, config)
    learnt = _learnt_from(config, pool)
    found = _gathered(fabric, config, model, learnt, stage.run("calibrate/moments"))
    counts = found.of_set[0].counts
    weights = class_weights(learnt.class_pixels(config.legend), config.probe)
    folds = []
    for number, held_out in enumerate(parts):
        inside, outside = pool.parted(held_out)
        kept = torch.tensor([place not in inside.places for place in learnt.places])
        if config.probe.encoder == "frozen":
            fitted = deepcopy(model.cpu())
            fit_probe(fitted, found, kept, config.probe, weights)
        else:
            encoder, _ = _encoder(config, outside, encoder_path)
            run = stage.run(f"calibrate/fold-{number}", encoder_path)
            fitted = fit_on(fabric, config, encoder, outside, run).cpu()
        known = counts[kept].sum(dim=0) >= LEARNT * counts.sum(dim=0)
        folds.append(Fold(model=fitted, samples=inside, known=known))
    calibration = calibrate(folds, config.calibrate, conditions(model))
    model.cpu().calibrate(calibration)
    model.doubt = doubt_of(model, found, config.probe, weights, config.seed)
    model.latents = fit_latents(model, some_of(config, learnt), conditions(model))
    path = stage.out / MODEL_NAME
    if fabric.is_global_zero:
        save(path, model, provenance.model_copy(update={"calibration": calibration}))
    return path


def conditions(model: MappingModel) -> Conditions:
    """How samples are put before a model: with the margin that a mapping run reads around each chip."""
    alignment_px = model.encoder.config.alignment_px
    halo_px = -(-model.radius_px // alignment_px) * alignment_px
    return Conditions(bands=model.encoder.bands, halo_px=halo_px, alignment_px=alignment_px)


def pretrain_on(fabric: Fabric, config: TrainingConfig, pool: SamplePool, run: Run) -> Encoder:
    """A new encoder of a configuration, pre-trained on the pairs of a pool."""
    recipe = config.pretrain
    schedule = Schedule(
        cut=Cut(chip_px=recipe.chip_px, reach_px=recipe.reach_px, pairs=recipe.pairs),
        chips=recipe.chips,
        steps=recipe.optimiser.steps,
        reached=run.reached(),
    )
    encoder = pretrain(fabric, new_encoder(config, pool), batches(fabric, config, pool, schedule), recipe, run)
    if not (config.model.variational and recipe.restoration_weight):
        return encoder
    schedule = Schedule(cut=schedule.cut, chips=recipe.chips, steps=recipe.variances.optimiser.steps)
    return fit_variances(fabric, encoder, batches(fabric, config, pool, schedule), recipe.variances, run)


def fit_on(fabric: Fabric, config: TrainingConfig, encoder: Encoder, pool: SamplePool, run: Run) -> MappingModel:
    """The probe of a configuration, fitted on an encoder with the labels of a pool; the encoder with it, if it says so."""
    labelled = _learnt_from(config, pool)
    weights = class_weights(labelled.class_pixels(config.legend), config.probe)
    model = MappingModel(encoder, config.legend)
    model.balance.copy_(balanced(encoder, some_of(config, labelled), conditions(model), config.probe.s1_trust))
    found = _gathered(fabric, config, model, labelled, run)
    once = torch.ones(len(labelled.places))
    fit_probe(model, found, once, config.probe, weights)
    if config.probe.encoder == "frozen":
        return model.eval()
    chips = _labelled_chips(fabric, config, labelled, config.probe.optimiser.steps, run.reached())
    tuned = fine_tune(fabric, model, chips, config.probe, run, weights)
    # What is missing stays that of the encoder before: it is measured in closed form.
    fit_raw_noise(tuned, found.changes, once)
    return tuned


def _learnt_from(config: TrainingConfig, pool: SamplePool) -> SamplePool:
    """The samples of a pool whose labels are learnt from."""
    labelled, _ = pool.parted(few_labels(pool.entries, config.probe.labels, config.seed))
    return labelled


def _gathered(fabric: Fabric, config: TrainingConfig, model: MappingModel, pool: SamplePool, run: Run) -> Gathered:
    chips = _labelled_chips(fabric, config, pool, config.probe.batches)
    numbers = {place: number for number, place in enumerate(pool.places)}
    return gather(fabric, model, chips, config.probe, run, [numbers[entry.place] for entry in pool.entries])


def _labelled_chips(
    fabric: Fabric, config: TrainingConfig, pool: SamplePool, steps: int, reached: int = 0
) -> Iterator[Batch]:
    recipe = config.probe
    schedule = Schedule(cut=Cut(chip_px=recipe.chip_px), chips=recipe.chips, steps=steps, reached=reached)
    return batches(fabric, config, pool, schedule)


def _refuse_other_recipe(path: Path, provenance: Provenance, config: TrainingConfig) -> None:
    """The folds must be what the probe is, and the places that it has seen be theirs."""
    before = provenance.config
    for name in ("seed", "bands", "classes", "labelled", "model", "probe"):
        if getattr(before, name) != getattr(config, name):
            raise CheckpointInvalid(
                path=str(path), reason=f"was fitted with another {name!r} table; run landsigma train probe again"
            )


def _refuse_other_encoder(encoder: Encoder, model: MappingModel, config: TrainingConfig) -> None:
    """A frozen encoder is the probe's own, number for number."""
    own, given = model.encoder.state_dict(), encoder.state_dict()
    if config.probe.encoder == "frozen" and any(not torch.equal(own[name], given[name]) for name in own):
        raise ConfigInvalid(
            path=config.name, reason="the probe was fitted on another encoder; give that with --encoder"
        )


def _encoder(config: TrainingConfig, pool: SamplePool, path: Path | None) -> tuple[Encoder, Provenance]:
    """A pre-trained encoder or a new one, and all that it and the probe will have seen."""
    seen = Provenance(config=config, data=pool.archives, places=pool.places)
    if path is None:
        return new_encoder(config, pool), seen
    encoder, before = load_encoder(path)
    if before.config.model != config.model or before.config.bands != config.bands:
        raise ConfigInvalid(
            path=config.name, reason=f"its model and bands are not those of the encoder {path}; use the same tables"
        )
    both = {
        "data": tuple(dict.fromkeys(before.data + seen.data)),
        "places": tuple(sorted({*before.places, *seen.places})),
    }
    return encoder, seen.model_copy(update=both)


def _kept(fabric: Fabric, path: Path, module: Encoder | MappingModel, provenance: Provenance, run: Run) -> Path:
    if fabric.is_global_zero:
        save(path, module.cpu(), provenance)
        draw_curves(run)
    return path
