"""Files of the repository beside the code: change log, citation, forms for issues, Dockerfile."""
import ast
import re
import shutil
import subprocess
from datetime import date

import pytest
import yaml
from conftest import ROOT

from darknet_py import __version__

FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def test_the_change_log():
    """Versions, the newest first, under headings of Keep a Changelog; the newest with a number is this one."""
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert headings[0] == "[Unreleased]"
    releases = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading).groups() for heading in headings[1:]]
    assert releases[0][0] == __version__
    assert releases == sorted(releases, key=lambda one: ([*map(int, one[0].split("."))], date.fromisoformat(one[1])),
                              reverse=True)
    kinds = set(re.findall(r"^### (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation():
    facts = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert facts["version"] == __version__ and facts["license"] == "MIT" and facts["cff-version"] == "1.2.0"
    assert facts["title"] and facts["message"] and facts["authors"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_for_issues(path):
    """As GitHub wants them: what a form and each element must have, ids and labels that no other has."""
    form = yaml.safe_load(path.read_text("utf-8"))
    assert form["name"] and form["description"] and form.keys() <= {"name", "description", "labels", "body"}
    fields = [one for one in form["body"] if one["type"] != "markdown"]
    assert all(one["attributes"]["value"] for one in form["body"] if one["type"] == "markdown")
    assert {one["type"] for one in fields} <= {"textarea", "input", "dropdown", "checkboxes"}
    for values in ([one["id"] for one in fields], [one["attributes"]["label"] for one in fields]):
        assert len(set(values)) == len(values) > 1 and all(isinstance(value, str) for value in values)
    for options in (one["attributes"]["options"] for one in fields if one["type"] == "dropdown"):
        assert all(isinstance(option, str) for option in options) and len(set(options)) == len(options) > 1
    assert any(one.get("validations", {}).get("required") for one in fields)


def test_the_dockerfile():
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("needs hadolint")
    ended = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


def test_the_container_gets_what_setup_reads():
    """All that the Dockerfile copies is let through, and what setup.py reads is copied or made."""
    lets = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    text = (ROOT / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for word in line.split()}
    assert {word.split("/")[0] for word in copied} == lets
    tree = ast.parse((ROOT / "setup.py").read_text("utf-8"))
    reads = {node.right.value for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
             and isinstance(node.right, ast.Constant)}
    assert len(reads) > 1 and all(any(read == one or read.startswith(f"{one}/") for one in copied) for read in reads)


def test_the_container_runs_without_rights():
    users = re.findall(r"^USER (.*)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
