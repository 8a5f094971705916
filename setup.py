"""Packaging of darknet_py."""
import re
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
CONVERT = ["onnx", "onnxruntime", "openvino"]


def opencv() -> str:
    """The OpenCV package to ask for.

    OpenCV comes as four packages that all install the module cv2 over each other. The headless one runs everywhere,
    also without the GL libraries that the others need. But where another is installed already (for its windows, or in
    a version with its own reasons) that one serves us as well, and must not be overwritten: so it is asked for. A
    build runs apart from what is installed; hence the look from a fresh interpreter.
    """
    look = "from importlib.metadata import distributions as d; print(*(x.metadata['Name'] for x in d()))"
    found = subprocess.run([sys.executable, "-E", "-c", look], capture_output=True, text=True, check=False).stdout
    installed = {name.lower().replace("_", "-") for name in found.split()}
    for name in ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"):
        if name in installed:
            return f"{name}>=4.8"
    return "opencv-python-headless>=4.8"


setup(
    name="darknet_py",
    version=re.search(r'^__version__ = "(.*)"', (HERE / "darknet_py/__init__.py").read_text(), re.M)[1],
    description="Run, train, evaluate and convert Darknet networks from Python, on PyTorch",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["darknet_py", "darknet_py.*"]),
    install_requires=["torch>=2.4,<2.14", "filelock>=3.30", "matplotlib", "numpy", opencv(), "pycocotools",
                      "pyparsing>=3.0", "pyyaml", "safetensors", "tqdm>=4.60"],
    extras_require={"tune": ["optuna>=4"], "convert": CONVERT,
                    "test": ["pytest", "hypothesis", "ruff", "mypy", "optuna>=4", *CONVERT]},
    entry_points={"console_scripts": ["darknet-py=darknet_py.cli:main"]},
)
