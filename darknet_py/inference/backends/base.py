"""What every backend offers."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

Run = Callable[[np.ndarray], list[np.ndarray]]
