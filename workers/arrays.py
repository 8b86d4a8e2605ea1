"""Names for the arrays that the workers pass around."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
CountArray = NDArray[np.uint8]
