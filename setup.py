"""Packaging of darknet_py."""
import os
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# The fastest on a CPU, ncnn or OpenVINO, take a network by onnx. Where they have no wheels PyTorch does the work.
WHEELS = 'platform_machine in "x86_64 AMD64 aarch64 arm64"'
FAST = ["onnx", f"ncnn; {WHEELS}", f'openvino>=2025; python_version < "3.14" and {WHEELS}']
CONVERT = [*FAST, "onnxruntime"]
SERVE = ["fastapi>=0.115", "uvicorn>=0.50", "websockets>=13", "python-multipart>=0.0.20", "prometheus-client",
         'tomli>=2; python_version < "3.11"']
# The package trackers asks for opencv-python, so it is installed with --no-deps, and what else it needs is here.
TRACK = ["supervision>=0.31", "rich>=13"]


# Four packages install OpenCV's module cv2, each over the others. The headless one runs everywhere, also without the GL
# libraries that the others need; whoever has another, for its windows say, names it here.
OPENCV = os.environ.get("DARKNET_PY_OPENCV", "opencv-python-headless")

setup(
    name="darknet_py",
    version=re.search(r'^__version__ = "(.*)"', (HERE / "darknet_py/utils/version.py").read_text(), re.M)[1],
    description="Run, train, evaluate and convert Darknet networks from Python, on PyTorch",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["darknet_py", "darknet_py.*"]),
    package_data={"darknet_py": ["py.typed"],
                  "darknet_py.data": ["*.names"], "darknet_py.live": ["*.html"], "darknet_py.live.service": ["page/*"]},
    install_requires=["torch>=2.4", "filelock>=3.30", "imagesize>=2", "matplotlib", "numpy", f"{OPENCV}>=4.8", "pillow",
                      "pycocotools", "pyparsing>=3.0", "pyyaml", "safetensors", "tqdm>=4.60", *FAST],
    extras_require={"tune": ["optuna>=4"], "convert": CONVERT,
                    "quantize": ["nncf", *CONVERT], "fuzz": ["atheris>=3"], "video": ["av>=12"], "track": TRACK,
                    "serve": SERVE,
                    "browser": ["playwright>=1.49"],        # for the tests of the page, with the system's Chromium
                    "test": ["pytest>=8", "pytest-xdist>=3.2", "hypothesis", "ruff", "mypy", "optuna>=4", *CONVERT,
                             *SERVE]},
    entry_points={"console_scripts": ["darknet-py=darknet_py.cli:main"]},
)
