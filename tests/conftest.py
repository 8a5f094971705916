"""Shared by the tests: where things lie, and the order of the tests."""
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"         # real weights and all goldens; only developers have it
sys.path.insert(0, str(ROOT / "scripts"))


def pytest_collection_modifyitems(items):
    """Fast tests first: the full conformance run, then what needs a GPU, come last."""
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no GPU"))
    items.sort(key=lambda item: bool(item.get_closest_marker("slow")) + 2 * bool(item.get_closest_marker("gpu")))


@pytest.fixture
def demo():
    """(cfg, weights, picture) of the network in the repository."""
    return ROOT / "cfg/shapes.cfg", ROOT / "weights/shapes.weights", ROOT / "cfg/shapes.png"
