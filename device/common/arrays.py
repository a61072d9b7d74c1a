"""Array types whose name says the precision; shapes are given in the docstrings of what takes and returns them."""

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
