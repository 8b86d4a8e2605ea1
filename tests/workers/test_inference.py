"""What becomes of a chip's outputs."""

import numpy as np

from contract.grid import Window
from tests.workers.products.conftest import LEGEND, MANIFEST
from workers.inference import BlockRasters
from workers.products.spec import raster_specs

BLOCK = Window(row=10, col=20, height=2, width=3)


def test_a_pixel_with_a_probability_that_is_no_number_gets_no_answer() -> None:
    rasters = BlockRasters(BLOCK, raster_specs(MANIFEST, ("probabilities",)), LEGEND, np.zeros((2, 3), bool))
    probabilities = np.full((5, 2, 2), 0.1, np.float32)
    probabilities[1] = 0.6
    probabilities[4, 0, 1] = np.nan
    keep = Window(row=10, col=21, height=2, width=2)
    rasters.store(keep, {"probabilities": probabilities, "variance": np.full((3, 2, 2), 0.5, np.float32)})
    np.testing.assert_array_equal(rasters.arrays["landcover"], [[[0, 30, 0], [0, 30, 30]]])
    np.testing.assert_array_equal(rasters.arrays["variance"][2], [[65535, 5000, 65535], [65535, 5000, 5000]])
    np.testing.assert_array_equal(rasters.arrays["probabilities"][1], [[255, 150, 255], [255, 150, 150]])
    assert rasters.answered_px(keep) == 3
