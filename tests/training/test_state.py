"""A .state file whose facts or tensors are not what they must be."""
import json
from pathlib import Path

import pytest
from resuming import WORDS, cut_off, files
from safetensors import safe_open
from safetensors.torch import save_file

from darknet_py.training import checkpoint

FACTS = {       # of a state: what is put in place of one, and what is said of it
    "none": (lambda facts: {}, "iteration: expected a whole number from 0 on, found none"),
    "text": (lambda facts: facts | {"iteration": "5"}, 'iteration: expected a whole number from 0 on, found "5"'),
    "negative": (lambda facts: facts | {"seen": -1}, "seen: expected a whole number from 0 on, found -1"),
    "huge": (lambda facts: facts | {"seed": 10 ** 400}, "seed: expected a whole number from 0 on, found 1000"),
    "NaN": (lambda facts: facts | {"best": float("nan")}, "best: expected a number, found NaN"),
    "huge loss": (lambda facts: facts | {"average_loss": 10 ** 400}, "average_loss: expected a number, found 1000"),
    "scale": (lambda facts: facts | {"scale": [1]}, "scale: expected two numbers, found [1]"),
    "amp": (lambda facts: facts | {"amp": ["off"]}, 'amp: expected a precision, found ["off"]'),
    "worse": (lambda facts: facts | {"worse": None}, "worse: expected a whole number from 0 on, found null"),
    "stopped": (lambda facts: facts | {"stopped": 1}, "stopped: expected a reason or null, found 1"),
    "no run": (lambda facts: facts | {"run": []}, "run: expected an object with cfg, layers, data,"),
    "run": (lambda facts: facts | {"run": facts["run"] | {"more": 1}}, "run: expected an object with cfg, layers,"),
    "cfg": (lambda facts: facts | {"run": facts["run"] | {"cfg": "filters=1"}}, "run: expected an object with cfg,"),
    "layers": (lambda facts: facts | {"run": facts["run"] | {"layers": [" "]}}, "run: expected an object with cfg,"),
    "data": (lambda facts: facts | {"run": facts["run"] | {"data": ["\0", None]}}, "run: expected an object with cfg,"),
    "entries": (lambda facts: facts | {"run": facts["run"] | {"entries": {"a": 1}}}, "run: expected an object with"),
    "first": (lambda facts: facts | {"run": facts["run"] | {"first": ["a"]}}, "run: expected an object with cfg,"),
    "identity": (lambda facts: facts | {"identity": [1]}, "identity: expected three facts or null, found [1]"),
}


def with_facts(path, changed):
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}         # noqa: SIM118
        text = changed(file.metadata()["run"])
    save_file(tensors, path, {"run": text})


@pytest.fixture
def again(tiny, cli):
    """A run that was cut off after 5 iterations; the same command again gives its exit code and what it said."""
    cut_off(5)

    def type_in(*words):
        code, out, err = cli("train", *WORDS, "-no_report", *words)
        return code, out if code == 0 else out + err
    return type_in


def starts_afresh(again):
    code, said = again("-clear")
    return code == 0 and "\n 1: " in f"\n{said}"


@pytest.mark.parametrize("changed, says", FACTS.values(), ids=FACTS)
def test_odd_facts_of_a_state(again, changed, says):
    """One line, and -clear starts without them. The checksum of the weights stays, else they are another file's."""
    path = Path("backup/tiny_last.state")
    kept = checkpoint.facts(path)["weights"]
    with_facts(path, lambda text: json.dumps(changed(json.loads(text)) | {"weights": kept}))
    before = files()
    code, said = again()
    assert code == 1 and said.count("\n") == 1 and f"{path}: {says}" in said and "; -clear starts afresh" in said
    assert files() == before and starts_afresh(again)


@pytest.mark.parametrize("text, says", [
    ("[" * 100_000, "expected the facts of a run as JSON: nested too deeply"),
    ("{", "expected the facts of a run as JSON: "), ("[1]", "expected the facts of a run, found [1]"),
    (f'{{"weights": {"9" * 5000}}}', "expected the facts of a run as JSON: ")])
def test_facts_of_a_state_that_are_none(again, text, says):
    with_facts("backup/tiny_last.state", lambda old: text)
    code, said = again()
    assert code == 1 and said.count("\n") == 1 and f"backup/tiny_last.state: {says}" in said
    assert "; -clear starts afresh" in said and starts_afresh(again)


@pytest.mark.parametrize("changed, says", [
    (lambda tensors: {"average/0": tensors["rolling"]}, "expected a tensor 'rolling', found none"),
    (lambda tensors: tensors | {"rolling": tensors["rolling"][:3].clone()}, "rolling: expected (4,), found (3,)"),
    (lambda tensors: tensors | {"statistics/x": tensors["rolling"].clone()}, "invalid literal"),
    (lambda tensors: tensors | {"statistics/99": tensors["rolling"].clone()}, "index out of range"),
    (lambda tensors: {name: tensor.new_zeros(1) if tensor.dim() else tensor for name, tensor in tensors.items()},
     "the optimiser's state has "),
])
def test_odd_tensors_of_a_state(again, changed, says):
    path = Path("backup/tiny_last.state")
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}         # noqa: SIM118
        facts = file.metadata()
    save_file(changed(tensors), path, facts)
    code, said = again()
    assert code == 1 and len(said.splitlines()) == 1 and f"{path}: does not fit this network: " in said and says in said
