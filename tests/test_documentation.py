"""The README and docs/: commands parse, generated pages are complete, the site builds without a warning."""
import argparse
import ast
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from itertools import takewhile

import pytest
import torch
from conftest import ROOT

from darknet_py import DarknetError, parse_cfg
from darknet_py.cfg.options import NetOptions, keys
from darknet_py.cli import VERBS, action_flags, main, model, parser_of
from darknet_py.layers.base import KINDS, LayerOptions
from darknet_py.model.network import Network
from darknet_py.training.settings import Settings

sys.path.insert(0, str(ROOT / "scripts"))
import site_pages

PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = re.compile(r"<(?:script|img|iframe)[^>]+src=[\"']?https?:|<link[^>]+stylesheet[^>]+href=[\"']?https?:")
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
INDENTED = re.compile(r"(?:^ {4}.*\n)+", re.M)
PLACEHOLDER = re.compile(r"[|\[]|\.\.\.|\bVERB\b")       # of a command's form, as in [WEIGHTS]


def commands(text: str) -> list[str]:
    """The darknet-py commands of a page's code blocks, and those in its sentences that are complete."""
    prose = FENCED.sub("", text)
    blocks = [block for kind, block in FENCED.findall(text) if kind == "bash"] + INDENTED.findall(prose)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    parts = [part for line in lines for part in re.split(r" (?:&&|\|) ", line)]
    found = [part for part in parts if re.match(r"\s*(\S*/)?darknet-py ", part)]
    inline = (" ".join(code.split()) for code in re.findall(r"`(darknet-py [^`]+)`", prose))
    inline = (re.sub(r"\b(N|LAYER)\b", "1", code) for code in inline if code.count(" ") > 1)
    return [*found, *(code for code in inline if not PLACEHOLDER.search(code))]


@pytest.fixture
def parse(monkeypatch, capsys):
    """Runs the command line up to where its verb begins; gives the arguments, or what is wrong in words."""
    parsed = []
    for module in {module for module, _ in VERBS.values()}:
        monkeypatch.setattr(import_module(f"darknet_py.cli.{module}"), "run", lambda found: parsed.append(found) or 0)
    monkeypatch.setattr(model, "_take_thresholds", lambda parsed, cfg: None)        # opens models, which are not here

    def run(words: list[str]) -> str:
        parsed.clear()
        try:
            code = main(words)
            for found in parsed:
                if found.verb in action_flags.TAKEN:
                    action_flags.check(found.verb, found)
        except SystemExit as end:
            code = end.code
        except DarknetError as error:
            return f"exit code 1: {error}"
        written = capsys.readouterr()
        return written.err or "" if code == 0 else f"exit code {code}: {written.err or written.out}"

    return run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page, parse):
    problems = {}
    for command in commands(page.read_text()):
        words = list(takewhile(lambda word: word not in ("<", ">", "|"), shlex.split(command, comments=True)))
        if problem := parse(words[1:]):
            problems[command] = problem
    assert not problems


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_compiles_and_imports_what_is_there(page):
    for kind, block in FENCED.findall(page.read_text()):
        if kind == "python" and "--8<--" not in block:
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("darknet_py"):
                    exec(f"from {node.module} import {', '.join(alias.name for alias in node.names)}", {})


def test_there_are_commands():
    assert sum(len(commands(page.read_text())) for page in PAGES) > 80


@pytest.mark.parametrize("command", ["detect a.cfg a.weights -no_such_flag", "detcet a.cfg a.weights",
                                     "detector map a.data a.cfg a.weights -write b"])
def test_what_is_wrong_is_noticed(command, parse):
    assert "exit code" in parse(command.split())


def section(page: str, title: str) -> str:
    return re.split(r"(?m)^##+ ", page.partition(f"# {title}\n")[2])[0]


def test_every_cfg_key_has_its_meaning():
    page = site_pages.cfg_page()
    tables = {"[net]": NetOptions, "Keys of every layer {#common}": LayerOptions}
    tables |= {f"[{cls.kind}]": cls.Options for cls in KINDS.values() if cls.Options is not LayerOptions}
    for title, options in tables.items():
        rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", section(page, title), re.M)
        common = () if options in (NetOptions, LayerOptions) else keys(LayerOptions)
        found = {key for key, *_ in rows}
        assert keys(options) - set(common) <= found <= keys(options), title
        assert all(len(meaning) > 3 for *_, meaning in rows), title
    assert all(f"\n## [{cls.kind}]\n" in page for cls in KINDS.values())


def test_every_setting_has_its_meaning():
    rows = re.findall(r"^\| `(\w+)` \| .+ \| .+ \| (.{4,}) \|$", site_pages.settings_page(), re.M)
    assert [name for name, _ in rows] == [field.name for field in fields(Settings)]


def test_every_verb_has_its_flags():
    page = site_pages.verbs_page()
    for verb in VERBS:
        text = section(page, verb)
        parser = parser_of(verb)
        flags = [action for action in parser._actions if action.option_strings and action.dest != "help"
                 and action.help is not argparse.SUPPRESS]
        missing = [action.dest for action in flags if f"`-{action.dest}`" not in text and not any(
            f"`-{name.lstrip('-').replace('-', '_')}`" in text for name in action.option_strings)]
        assert text and not missing, (verb, missing)


def test_the_layer_of_the_page_for_contributors():
    code = next(block for _, block in FENCED.findall((ROOT / "docs/contributing.md").read_text()) if "@layer(" in block)
    try:
        exec(code, {"__name__": "scale"})
        network = Network(parse_cfg("[net]\nwidth=4\nheight=4\nchannels=3\n[scale]\nstart=.5\n"))
        network.layers[0].reset_parameters()
        x = torch.rand(2, 3, 4, 4)
        assert torch.equal(network.layers[0](x), .5 * x)
        assert [blob.tensor.tolist() for blob in network.layers[0].blobs()] == [[.5] * 3]
    finally:
        KINDS.pop("scale", None)


def test_no_note_to_editors_is_left():
    assert not [page.name for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")] if "<!--" in page.read_text()]


def test_links_of_the_readme():
    text = (ROOT / "README.md").read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert len(links) > 20 and not [link for link in links if not (ROOT / link).exists()]
    assert len(text.splitlines()) <= 150
    command = 'python3 -m venv .venv && . .venv/bin/activate && pip install torch==2.13.0 ".[test]" && pytest'
    assert f"\n    {command}\n" in text


@pytest.mark.skipif(not (find_spec("mkdocs") and find_spec("material") and find_spec("mkdocstrings")),
                    reason="mkdocs is not installed")
def test_the_site_builds(tmp_path):
    built = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)], cwd=ROOT,
                           capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30 and (tmp_path / "search/search_index.json").stat().st_size > 100_000
    for page in pages:
        assert not ELSEWHERE.search(page.read_text()), page
    for path in re.findall(r'^--8<-- "(.+)"$', (ROOT / "docs/deploy.md").read_text(), re.M):
        if (ROOT / "docs/snippets").exists():
            assert (ROOT / path).read_text().splitlines()[1][:10] in (tmp_path / "deploy.html").read_text()
    assert "fonts.googleapis" not in (tmp_path / "index.html").read_text()
    api = (tmp_path / "reference/api.html").read_text()
    import darknet_py
    assert all(f'id="darknet_py.{darknet_py._HOMES[name]}.{name}"' in api for name in darknet_py._HOMES)
    assert all(f'id="darknet_py.inference.{name}"' in api for name in (
        "detector.Detector.__call__", "classifier.Classifier.__call__", "detections.Detections.__getitem__"))
    assert "ARRAYS" not in api
