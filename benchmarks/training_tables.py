"""What pre-training, labels, sensors and sigma are worth on places that no model has seen.

Every cell is a model that is trained once and whose answers are kept under --work: a run that is stopped goes on where it
was. Splits: `val` is the archive's own validation side, `fold-0` to `fold-4` are five folds by place over all samples.
Prints one table after the other in Markdown; `python benchmarks/training_tables.py --help` lists them.
"""

import argparse
import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from contract.bands import Modality
from contract.legend import Legend
from training.balance import balanced
from training.calibrate import pooled
from training.checkpoint import Provenance, load_encoder, save
from training.config import TrainingConfig, read_config
from training.data.legends import class_indices
from training.data.pool import SamplePool
from training.data.splits import place_folds
from training.evaluate.answers import Answers, Uncertainty
from training.evaluate.bootstrap import Resampling
from training.evaluate.exam import Exam, inputs_of
from training.evaluate.metrics import ErrorDetection, Scores, score
from training.evaluate.tables import variance_table
from training.evaluate.variance_tests import run_variance_tests
from training.evaluate.views import View, as_given, only
from training.image_probe import ImageProbeConfig, LabelledImages, embed, fit_image_probe, score_images
from training.models.encoder import Encoder
from training.models.mapping import MappingModel
from training.models.raw import raw_features
from training.run import Run
from training.setup import labelled_pool, new_encoder, start, unlabelled_pool
from training.stages import conditions, fit_on, pretrain_on
from training.tensors import Inputs, Prediction

FOLDS = 5
VIEWS: dict[str, View] = {"both": as_given, "s2": only(Modality.S2), "s1": only(Modality.S1)}
OBJECTIVES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    # name: changes to [model], changes to [pretrain]
    "vdual": ({}, {}),
    "dual": ({"variational": False}, {"divergence_weight": 0.0, "restoration_weight": 0.0, "draws": 1}),
    "vdual-contrast": ({}, {"restoration_weight": 0.0}),
    "vdual-mean": ({}, {"combine": "mean"}),
    "vdual-head": ({}, {"head": "mlp"}),
    "vdual-common-grid": ({}, {"pairs": "common"}),
    "vdual-patch": ({}, {"level": "patch"}),
    "dual-patch": (
        {"variational": False},
        {"divergence_weight": 0.0, "restoration_weight": 0.0, "draws": 1, "level": "patch"},
    ),
}
RANDOM = "random"
"""Objective of an encoder that was never pre-trained."""

PATCH_TASK = "patch-task"
"""The classes of whole images, from pooled embeddings."""
VARIANCE = "variance"
"""V1 to V5, of models before calibration, the first seed."""
PATCH_HEADER = """| encoder | probe | micro average precision | macro average precision |
| --- | --- | --- | --- |"""
PIXEL_STEP = 5
"""Every fifth pixel trains the classical models: neighbours say the same."""
DRAWS = 500


def main() -> None:
    """Train what is missing, print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="training configuration; its labelled archives with all their splits")
    parser.add_argument("--work", type=Path, required=True, help="folder of models and answers")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--splits", nargs="+", choices=("val", "folds"), default=["val"])
    parser.add_argument("tables", nargs="+", choices=(*TABLES, PATCH_TASK, VARIANCE))
    chosen = parser.parse_args()
    config = read_config(chosen.config)
    every = tuple(spec.model_copy(update={"splits": None}) for spec in config.labelled)
    bench = Bench(config.model_copy(update={"labelled": every}), chosen.work)
    for split, table in itertools.product(chosen.splits, chosen.tables):
        if table == PATCH_TASK:
            _print_patch_task(bench, split, chosen.seeds)
            continue
        if table == VARIANCE:
            _print_variance_tests(bench, split)
            continue
        print(f"\n### {table}, {split}\n\n{HEADER}", flush=True)
        for row in TABLES[table]:
            seeds = range(chosen.seeds if isinstance(row.cell, Cell) else 1)
            print(line(row.title, [bench.over(split, row, seed) for seed in seeds], config.legend), flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One model of a table."""

    split: str = "val"
    seed: int = 0
    objective: str = "vdual"
    encoder: str = "frozen"
    labels: float = 1.0
    """Share of the training samples whose labels are used."""
    sensors: str = "both"
    """What it is trained with."""
    beside: str = "surroundings"
    """What the probe reads beside the embedding."""

    @property
    def name(self) -> str:
        """Of its file."""
        return "_".join(str(getattr(self, field.name)) for field in fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table."""

    title: str
    cell: Cell | str
    """A trained model, or the name of a classifier on raw pixels."""
    view: str = "both"
    """What it is shown."""


def _labels_rows() -> Iterable[Row]:
    titles = {"vdual": "VDual-SimCLR", "dual": "Dual-SimCLR", RANDOM: "random encoder"}
    for labels, (objective, title) in itertools.product((1.0, 0.1, 0.01), titles.items()):
        yield Row(title=f"{title}, linear probe, {labels:.0%} of labels", cell=Cell(objective=objective, labels=labels))


def _fine_tuning_rows() -> Iterable[Row]:
    titles = {"vdual": "VDual-SimCLR, fine-tuned", RANDOM: "from scratch"}
    for labels, (objective, title) in itertools.product((1.0, 0.1, 0.01), titles.items()):
        cell = Cell(objective=objective, labels=labels, encoder="trained")
        yield Row(title=f"{title}, {labels:.0%} of labels", cell=cell)


def _sensor_rows() -> Iterable[Row]:
    for sensors, title in (("both", "both sensors"), ("s2", "Sentinel-2"), ("s1", "Sentinel-1")):
        yield Row(title=f"trained with both, shown {title}", cell=Cell(), view=sensors)
    for sensors, title in (("s2", "Sentinel-2"), ("s1", "Sentinel-1")):
        yield Row(title=f"trained with {title} alone", cell=Cell(sensors=sensors), view=sensors)


def _formulation_rows() -> Iterable[Row]:
    for beside in ("nothing", "pixel", "surroundings"):
        for objective in (*(name for name in OBJECTIVES if not name.endswith("patch")), RANDOM):
            yield Row(title=f"{objective}, beside it {beside}", cell=Cell(objective=objective, beside=beside))


TABLES = {
    "classical": [Row(title=f"{kind}, raw pixels", cell=kind) for kind in ("random forest", "logistic regression")],
    "labels": list(_labels_rows()),
    "fine-tuning": list(_fine_tuning_rows()),
    "sensors": list(_sensor_rows()),
    "formulation": list(_formulation_rows()),
}


class Bench:
    """Models and answers on disk."""

    def __init__(self, config: TrainingConfig, work: Path) -> None:
        self.config, self.work = config, work
        self.pool = labelled_pool(config)
        self.extra = unlabelled_pool(config)
        self.fabric = start(config.hardware)

    def sides(self, split: str) -> tuple[SamplePool, SamplePool]:
        """Training samples and held-out samples of a split."""
        entries = self.pool.entries
        if split == "val":
            held_out = [entry for entry in entries if entry.split == "val"]
        else:
            held_out = list(place_folds(entries, FOLDS, seed=0)[int(split.removeprefix("fold-"))])
        inside, outside = self.pool.parted(held_out)
        return outside, inside

    def over(self, split: str, row: Row, seed: int) -> Answers:
        """The answers of a row on a split, or on all five folds."""
        if isinstance(row.cell, str):
            return pooled([classical(self, part, row.cell)[row.view] for part in parts_of(split)])
        return pooled([self.answers(replace(row.cell, split=part, seed=seed))[row.view] for part in parts_of(split)])

    def answers(self, cell: Cell) -> dict[str, Answers]:
        """The answers of a cell's model in every view, from disk if it was there before."""
        path = self.work / "answers" / f"{cell.name}.npz"
        if not path.exists():
            began = time.monotonic()
            model, held_out = self.fitted(cell)
            exam = Exam(predictor=model, samples=held_out, legend=self.config.legend, conditions=conditions(model))
            _store(path, {name: exam.answers(view) for name, view in VIEWS.items()})
            print(f"# {cell.name}: {time.monotonic() - began:.0f} s", flush=True)
        return _load(path)

    def _recipe(self, cell: Cell) -> TrainingConfig:
        model, pre = OBJECTIVES.get(cell.objective, ({}, {}))
        config = self.config
        changes = {"encoder": cell.encoder, "beside": cell.beside, "labels": cell.labels}
        probe = config.probe.model_copy(update=changes)
        if cell.sensors != "both":
            shares = {"s2_dropped_share": float(cell.sensors == "s1"), "s1_dropped_share": float(cell.sensors == "s2")}
            probe = probe.model_copy(update={"augment": probe.augment.model_copy(update=shares)})
        return config.model_copy(
            update={
                "seed": cell.seed,
                "model": config.model.model_copy(update=model),
                "pretrain": config.pretrain.model_copy(update=pre),
                "probe": probe,
            }
        )

    def encoder(self, cell: Cell, train: SamplePool) -> Encoder:
        """The encoder of a cell, from disk if it was there before."""
        config = self._recipe(cell)
        if cell.objective == RANDOM:
            return new_encoder(config, train)
        path = self.work / "encoders" / f"{cell.split}_{cell.seed}_{cell.objective}.pt"
        if not path.exists():
            began = time.monotonic()
            pool = SamplePool.join([train, self.extra]).paired()
            encoder = pretrain_on(self.fabric, config, pool, Run(seed=cell.seed))
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, encoder, Provenance(config=config, data=pool.archives, places=pool.places))
            print(f"# pre-trained {path.stem}: {time.monotonic() - began:.0f} s", flush=True)
        return load_encoder(path)[0]

    def fitted(self, cell: Cell) -> tuple[MappingModel, SamplePool]:
        """The model of a cell, and the samples that it has not seen."""
        config, (train, held_out) = self._recipe(cell), self.sides(cell.split)
        model = fit_on(self.fabric, config, self.encoder(cell, train), train, Run(seed=cell.seed)).cpu().eval()
        return model, held_out

    def images(self, cell: Cell, names: tuple[str, ...]) -> tuple[LabelledImages, LabelledImages]:
        """The embeddings of whole images by a cell's encoder, training samples and held-out ones."""
        train, held_out = self.sides(cell.split)
        encoder = self.encoder(cell, train)
        model = MappingModel(encoder, self.config.legend)
        weights = balanced(encoder, train, conditions(model), self.config.probe.s1_trust)
        return embed(encoder, train, names, weights), embed(encoder, held_out, names, weights)


def parts_of(split: str) -> list[str]:
    """`val`, or each of the folds."""
    return [split] if split == "val" else [f"fold-{number}" for number in range(FOLDS)]


def _print_patch_task(bench: Bench, split: str, seeds: int) -> None:
    print(f"\n### {PATCH_TASK}, {split}\n\n{PATCH_HEADER}", flush=True)
    names = tuple(sorted({label for sample in bench.pool for label in sample.image_labels}))
    for objective in ("vdual", "dual", "vdual-patch", "dual-patch", RANDOM):
        cells = [
            Cell(split=part, seed=seed, objective=objective)
            for seed, part in itertools.product(range(seeds), parts_of(split))
        ]
        images = [bench.images(cell, names) for cell in cells]
        for hidden in (0, 128):
            scores = []
            for cell, (seen, unseen) in zip(cells, images, strict=True):
                probe = fit_image_probe(seen, ImageProbeConfig(hidden=hidden), cell.seed)
                scores.append(score_images(probe, unseen))
            micro, macro = (_spread([getattr(s, f"{k}_precision") for s in scores]) for k in ("micro", "macro"))
            print(f"| {objective} | {'MLP-128' if hidden else 'linear'} | {micro} | {macro} |", flush=True)


class PooledExam:
    """Models of different folds, each before the samples that it has not seen, as one exam."""

    def __init__(self, bench: Bench, split: str) -> None:
        self.exams = [
            Exam(predictor=model, samples=held_out, legend=bench.config.legend, conditions=conditions(model))
            for model, held_out in (bench.fitted(Cell(split=part)) for part in parts_of(split))
        ]

    def answers(self, view: View = as_given) -> Answers:
        """As `Exam.answers`."""
        return pooled([exam.answers(view) for exam in self.exams])


def _print_variance_tests(bench: Bench, split: str) -> None:
    print(f"\n### {VARIANCE}, {split}\n", flush=True)
    exam = PooledExam(bench, split)
    answers = exam.answers()
    tests = run_variance_tests(exam, answers, Resampling(places=len(answers.places), draws=DRAWS))
    Console(width=160).print(variance_table(tests))


class Classical:
    """A classifier of scikit-learn on the raw features of single pixels, as a predictor."""

    def __init__(self, bench: Bench, train: SamplePool, kind: str) -> None:
        self.bands, self.classes = bench.config.bands, len(bench.config.legend.classes)
        encoder = new_encoder(bench.config, train)
        self.s2, self.s1 = encoder.standardise_s2, encoder.standardise_s1
        self.classifier = (
            RandomForestClassifier(200, min_samples_leaf=5, n_jobs=-1, random_state=0)
            if kind == "random forest"
            else LogisticRegression(max_iter=300)
        )
        features, labels = [], []
        for sample in train:
            of_pixels = self._features(inputs_of(sample, self.bands))[0]
            target = class_indices(sample.labels, bench.config.legend).ravel()
            features.append(of_pixels[target >= 0][::PIXEL_STEP])
            labels.append(target[target >= 0][::PIXEL_STEP])
        self.classifier.fit(np.concatenate(features), np.concatenate(labels))

    def __call__(self, inputs: Inputs) -> Prediction:
        """Probabilities of every pixel; a classifier has no embedding, so all variance is aleatoric."""
        rows, columns = inputs.s2.shape[-2:]
        known = self.classifier.predict_proba(self._features(inputs).reshape(rows * columns, -1))
        probabilities = np.zeros((len(known), self.classes), np.float32)
        probabilities[:, self.classifier.classes_] = known
        planes = torch.from_numpy(probabilities.T.reshape(1, self.classes, rows, columns))
        total = (planes * (1 - planes)).sum(dim=1)
        nothing = torch.zeros_like(total)
        return Prediction(
            probabilities=planes, total=total, aleatoric=total, embedding=nothing, latent_variance=nothing,
            embedding_norm=nothing,
        )  # fmt: skip

    def _features(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """(1, pixels, features)."""
        return raw_features(inputs, self.bands, self.s2, self.s1).flatten(2).transpose(1, 2).numpy()


def classical(bench: Bench, split: str, kind: str) -> dict[str, Answers]:
    """The answers of a classifier on raw pixels."""
    path = bench.work / "answers" / f"{split}_{kind}.npz".replace(" ", "-")
    if not path.exists():
        train, held_out = bench.sides(split)
        predictor = Classical(bench, train, kind)
        exam = Exam(predictor=predictor, samples=held_out, legend=bench.config.legend)
        _store(path, {"both": exam.answers()})
    return _load(path)


def line(title: str, runs: Sequence[Answers], legend: Legend) -> str:
    """Means over seeds, with the spread of the first three figures and the interval of one run's balanced accuracy."""
    scores = [score("", answers, legend, Resampling(places=len(answers.places), draws=DRAWS)) for answers in runs]
    cells = [
        _spread([each.overall_accuracy.value for each in scores]),
        _spread([each.balanced_accuracy.value for each in scores]),
        _spread([each.mean_iou.value for each in scores]),
        _spread([each.nll.value for each in scores]),
        _spread([each.ece.value for each in scores]),
        _spread([_detection(each, Uncertainty.TOTAL).auroc.value for each in scores]),
        _spread([_detection(each, Uncertainty.TOTAL).kept_accuracy.value for each in scores]),
        str(scores[0].balanced_accuracy),
    ]
    return f"| {title} | {' | '.join(cells)} |"


HEADER = """| model | OA | balanced | mIoU | NLL | ECE | AUROC total | OA at 80 % | 95 % of balanced, first seed |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def _detection(scores: Scores, kind: Uncertainty) -> ErrorDetection:
    return next(each for each in scores.detection if each.uncertainty is kind)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    deviation = f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else ""
    return f"{np.mean(known):.3f}{deviation}"


def _store(path: Path, views: dict[str, Answers]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{view}/{name}": column for view, answers in views.items() for name, column in _columns(answers).items()}
    part = path.with_name(path.name + ".part.npz")
    np.savez_compressed(part, **arrays)
    part.rename(path)


def _load(path: Path) -> dict[str, Answers]:
    with np.load(path) as arrays:
        views = dict.fromkeys(key.partition("/")[0] for key in arrays)
        names = {view: [key.partition("/")[2] for key in arrays if key.startswith(f"{view}/")] for view in views}
        return {view: _answers({name: arrays[f"{view}/{name}"] for name in names[view]}) for view in views}


def _columns(answers: Answers) -> dict[str, npt.NDArray[np.generic]]:
    rest = {"places": np.asarray(answers.places), "outside_legend": np.asarray(answers.outside_legend)}
    return {**answers.columns, **rest}


def _answers(columns: dict[str, npt.NDArray[np.generic]]) -> Answers:
    places, outside = tuple(str(place) for place in columns.pop("places")), int(columns.pop("outside_legend"))
    return Answers(places=places, outside_legend=outside, **columns)


if __name__ == "__main__":
    main()
