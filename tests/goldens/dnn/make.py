"""What OpenCV 4.12 gives for the cfgs here, with the pictures and calls of ``scripts/compare_dnn.py``: NAME.npz.

    python tests/goldens/dnn/make.py PYTHON         # an interpreter with opencv-python-headless==4.12.0.88
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SIZES = {"yolo": (16, 32), "region": (64, 32), "classifier": (16, 16)}      # width, height; some cfgs have others


def write_weights(cfg, path):
    """Weights from the kit's generator."""
    import kit

    from darknet_py import load_network
    network = load_network(cfg)
    with torch.no_grad():
        for number, blob in enumerate(blob for layer in network.layers for blob in layer.blobs()):
            values = kit.values(12, number, blob.tensor.numel(), *((1.5, 1) if blob.norm else (-.5, 1)))
            blob.tensor.copy_(torch.from_numpy(values).view_as(blob.tensor))
    network.save_weights(path)


if __name__ == "__main__":
    sys.path.append(str(HERE.parent))
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, height) in SIZES.items():
            cfg, weights = HERE / f"{name}.cfg", Path(folder, f"{name}.weights")
            write_weights(cfg, weights)
            subprocess.run([sys.argv[1], ROOT / "scripts/compare_dnn.py", "cv2", cfg, weights, HERE / f"{name}.npz",
                            f"{width}x{height}x3"], check=True)
