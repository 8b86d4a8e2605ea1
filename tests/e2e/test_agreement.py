"""A map of real labelled patches says, pixel by pixel, what the evaluation says of them with the same bundle."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.agreement import Said, compared, graph_predictor, patches
from tests.e2e.conftest import ROOT
from tests.servers import served_catalogue
from workers.bundle import Bundle, find_bundle

POINTS = 0.2
"""What accuracy and mean variances may be off, hundredths."""
PATCHES = ("34UEG_53_44", "34TEP_55_68", "34WFU_40_35")
"""Each begins at another pixel of the strides."""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return find_bundle("vdual-simclr", (ROOT / "deploy" / "models",))


@pytest.fixture(scope="module")
def api(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_catalogue(shared / "stac" / "reben" / "catalog.json", tmp_path_factory.mktemp("api")) as address:
        yield address


@pytest.fixture(scope="module")
def said(shared: Path, api: str, bundle: Bundle) -> list[dict[str, Said]]:
    """Of each patch, by map and evaluation."""
    predictor = graph_predictor(bundle)
    chosen = [
        patch
        for patch in patches(shared / "data" / "reben", bundle, "val")
        if patch.sample.entry.name.endswith(PATCHES)
    ]
    stride_px = bundle.manifest.alignment_px
    starts = {tuple(origin % stride_px for origin in patch.grid.lattice_origin) for patch in chosen}
    assert len(starts) == len(PATCHES)
    return [compared(patch, bundle, predictor=predictor, catalogue=api) for patch in chosen]


def test_a_map_has_the_accuracy_and_the_variances_of_the_evaluation(said: list[dict[str, Said]]) -> None:
    for each in said:
        np.testing.assert_allclose(each["map"].figures(), each["evaluation"].figures(), rtol=0, atol=POINTS)


def test_every_pixel_of_a_map_is_the_evaluations(said: list[dict[str, Said]], bundle: Bundle) -> None:
    step = bundle.manifest.output("variance").encoding.scale
    for each in said:
        same = each["map"].classes == each["evaluation"].classes
        assert same.mean() > 0.999  # two classes may be equal to float order
        np.testing.assert_allclose(each["map"].variances, each["evaluation"].variances, rtol=0, atol=step)
