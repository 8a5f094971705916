"""The notebooks in docs/notebooks: committed without outputs, and each runs and finds what it says."""
import json
import os
import re

import pytest
from conftest import ROOT

FOLDER = ROOT / "docs/notebooks"
DIGITS = len((ROOT / "cfg/digits.txt").read_text().splitlines())
# Patterns of what a notebook prints or shows, and how large the number in the last of them is at least, if it has one.
SAYS = [
    ("quick_start", [rf"^{DIGITS} detections in ", r"^image/png$", r"^22 of them above \.9, ", r"^sevens: 1 - ",
                     r"missing\.jpg -> .*: cannot read the image", r"\(1, 45, 9, 9\)"], None),
    ("custom_data", [r"^train 96 pictures", r"^0 problems", r"shapes_final\.weights", r"^image/png$",
                     r"^mAP@\.50 ([\d.]+)%"], 50),
    ("convert_and_deploy", [rf"^{DIGITS} digits in ONNX Runtime: [\d ]+$", *(
        rf"^{backend}: {DIGITS} digits" for backend in ("pytorch", "onnxruntime", "openvino")), r"^True$",
        r'{"results": \[{'], None),
]


def shown(notebook: dict) -> str:
    """What the cells printed, and their results by type."""
    text = ""
    for output in (output for cell in notebook["cells"] for output in cell.get("outputs", [])):
        text += output.get("text", "") + "".join(f"{kind}\n{value}\n" for kind, value in output.get("data", {}).items())
    return text


def test_every_notebook_is_run():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {name for name, *_ in SAYS}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_valid_and_without_outputs(path):
    nbformat = pytest.importorskip("nbformat")
    notebook = json.loads(path.read_text("utf-8"))
    nbformat.validate(notebook)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert notebook["cells"][0]["source"][0].startswith("# ")


@pytest.mark.parametrize("name, patterns, least", SAYS, ids=[name for name, *_ in SAYS])
def test_a_notebook_runs(name, patterns, least, tmp_path, monkeypatch):
    """From its own folder, with this checkout's package; nothing is written beside it."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    if name == "convert_and_deploy":
        for package in ("onnxruntime", "openvino", "fastapi"):
            pytest.importorskip(package)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "TMPDIR"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    before = set(FOLDER.iterdir())
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", 4)
    nbclient.NotebookClient(notebook, timeout=200, kernel_name="python3",
                            resources={"metadata": {"path": str(FOLDER)}}).execute()
    text = shown(notebook)
    for pattern in patterns:
        assert (found := re.search(pattern, text, re.M)), f"{pattern}: {text[-3000:]}"
    if least is not None:
        assert float(found[1]) >= least
    assert set(FOLDER.iterdir()) == before
