"""Character models: texts, a network that learns one by heart, what one foresees and makes up. C's figures."""
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import measured_weights, raises

from darknet_py import DataError, Reason, generate, load_network, parse_cfg, perplexity, train
from darknet_py.cli import main
from darknet_py.data.text import Text

CFG = """[net]
inputs=128
batch=16
subdivisions=2
time_steps=20
learning_rate=.05
max_batches=100

[rnn]
output=64
hidden=64
activation=tanh

[connected]
output=128
activation=linear

[softmax]

[cost]
type=sse
"""


def test_sequences(tmp_path):
    """First steps first, the truth one character ahead, and after the end the beginning."""
    (tmp_path / "a.txt").write_text("abcd")
    x, truth = Text(tmp_path / "a.txt", 128).sequences(np.array([0, 3]), 3)
    assert x.shape == (6, 128, 1, 1) and truth.shape == (6, 128)
    assert "".join(map(chr, x.flatten(1).argmax(1).tolist())) == "adbacb"
    assert "".join(map(chr, truth.argmax(1).tolist())) == "bacbdc"
    assert (x.flatten(1).sum(1) == 1).all() and (truth.sum(1) == 1).all()


@pytest.mark.parametrize("text, reason, message", [
    (None, Reason.MISSING_FILE, "cannot read the text"), (b"a", Reason.EMPTY, "at least 2 bytes, found 1"),
    (b"ab\xc3\xa4", Reason.OUT_OF_RANGE, r"byte 2 is 195, the network takes bytes below 128 \(inputs=\)")])
def test_texts_that_do_not_fit(tmp_path, text, reason, message):
    if text is not None:
        (tmp_path / "a.txt").write_bytes(text)
    with raises(DataError, reason, message):
        Text(tmp_path / "a.txt", 128)


def test_a_sentence_by_heart(workdir):
    Path("r.cfg").write_text(CFG)
    Path("t.txt").write_text("the quick brown fox jumps over the lazy dog.\n" * 20)
    run = train("t.txt", "r.cfg", evaluate=True, device="cpu", seed=1, charts=None, report=False)
    assert run.best > .8 and "perplexity" in run.score.text
    again = train("t.txt", "r.cfg", evaluate=True, device="cpu", seed=1, charts=None, report=False,
                  clear=True)
    assert again.best == run.best


MODEL = """[net]
inputs=128
batch=1
max_batches=1

{body}
[connected]
output=128
activation=linear

[softmax]

[cost]
type=sse
"""
BODIES = {"rnn": "[rnn]\noutput=8\nhidden=8\nactivation=tanh\n", "gru": "[gru]\noutput=8\n",
          "lstm": "[lstm]\noutput=8\n",
          "both": "[gru]\noutput=8\n\n[rnn]\noutput=8\nhidden=6\nshortcut=1\nlogistic=1\n"}
TEXT = b"Of one word\tand two\nlines, 3 tabs\t\tand a very long tail of words that says little.\n" * 4
LINE = r"(\d+) Perplexity: (\d+\.\d{4})    Word Perplexity: (\d+\.\d{4})\n"


class Stdin:
    def __init__(self, data):
        self.buffer = io.BytesIO(data)


@pytest.fixture
def model(workdir):
    """The folder, now the working directory, of models and a text."""
    for name, body in BODIES.items():
        Path(f"{name}.cfg").write_text(MODEL.format(body=body))
        measured_weights(f"{name}.weights", f"{name}.cfg", 5)
    Path("t.txt").write_bytes(TEXT)
    return workdir


@pytest.mark.parametrize("name, seed, each, word", [
    ("rnn", None, 246.7629, 19217494472.7047), ("rnn", "Hello", 246.9216, 19270668400.2292),
    ("gru", None, 220.2706, 11794237734.9703), ("gru", "Hello", 220.6733, 11887223884.4928),
    ("lstm", None, 180.4330, 5002973101.9203), ("lstm", "Hello", 180.7381, 5039431019.8041),
    ("both", None, 203.5954, 8408226330.5150), ("both", "Hello", 193.1288, 6701523149.4629)])
@pytest.mark.parametrize("source", ["stdin", "file"])
def test_perplexity_is_that_of_c(model, monkeypatch, cli, name, seed, each, word, source):
    """Which adds up in float32."""
    monkeypatch.setattr(sys, "stdin", Stdin(TEXT))
    words = ["-file", "t.txt"] if source == "file" else []
    words += [] if seed is None else ["-seed", seed]
    code, out, _ = cli("rnn", "valid", f"{name}.cfg", f"{name}.weights", *words, "-device", "cpu")
    count, *found = re.fullmatch(LINE, out).groups()
    assert code == 0 and int(count) == len(TEXT) - 1
    assert list(map(float, found)) == [pytest.approx(each, rel=5e-6), pytest.approx(word, rel=2e-5)]


@pytest.mark.parametrize("seed", [b"", b"x", b"s" * 300])
def test_many_steps_in_one_call_are_as_many_calls(model, seed):
    """And a network may be in the middle of its training, with a state."""
    network = load_network("both.cfg", "both.weights").train()
    with torch.no_grad():
        network(torch.rand(1, 128))
    before = [part.clone() for layer in network.layers[:2] for part in layer.state]
    seen = []
    text = TEXT * 2
    result = perplexity(network, text, seed, progress=seen.append)
    assert seen[-1] == result and result.characters == len(text) - 1 and network.training
    assert all(torch.equal(a, b) for a, b in
               zip(before, (part for layer in network.layers[:2] for part in layer.state), strict=True))
    single = load_network("both.cfg", "both.weights")
    bits = 0.
    with torch.no_grad():
        for at, (now, after) in enumerate(zip(seed + text, (seed + text)[1:], strict=False)):
            output = single.train_heads(torch.eye(128)[now:now + 1])[-1].input
            bits -= output[0, after].log2().item() if at >= len(seed) else 0
    assert result.bits == pytest.approx(bits, rel=1e-5)
    assert result.words == 1 + sum(byte in b" \n\t" for byte in text[1:])


def test_generated_text(model, capfdbinary):
    """A seed, then as many characters; the same ones for the same -srand."""
    texts = []
    for number in ("3", "3", "4"):
        assert main(["rnn", "generate", "gru.cfg", "gru.weights", "-seed", "He", "-len", "40", "-srand", number,
                     "-device", "cpu"]) == 0
        texts.append(capfdbinary.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert all(text[:2] == b"He" and len(text) == 43 and text[-1:] == b"\n" for text in texts)
    Path("tokens.txt").write_text("".join(f"t{number}\n" for number in range(128)))
    assert main(["rnn", "generate", "gru.cfg", "gru.weights", "-seed", "He", "-len", "40", "-srand", "3", "-tokens",
                 "tokens.txt", "-device", "cpu"]) == 0
    assert capfdbinary.readouterr().out == b"".join(b"t%d " % byte for byte in texts[0][:-1]) + b"\n"


def test_generated_characters_follow_the_probabilities(model):
    network = load_network("gru.cfg", "gru.weights")
    with torch.no_grad():
        chances = network.train_heads(torch.eye(128)[65:66])[-1].input.flatten()
        logits = chances.log()
    for temperature in (1, .5):
        rng = np.random.default_rng(0)
        drawn = [next(generate(network, 1, b"A", temperature, rng)) for _ in range(300)]
        expected = (logits / temperature).softmax(0)
        likely = expected.topk(5).indices
        assert np.isin(drawn, likely).mean() == pytest.approx(expected[likely].sum().item(), abs=.1)
        assert expected[drawn].min() >= .0001
    assert set(generate(network, 1, b"A", .001)) == {int(chances.argmax())}
    assert network.layers[2].options.temperature == 1
    assert list(generate(network, 0)) == [] and len(list(generate(network, 3, b""))) == 3


@pytest.mark.parametrize("words", [
    ["rnn", "train", "r.cfg", "-file", "t.txt"], ["-clear", "-file", "t.txt", "rnn", "train", "r.cfg"],
    ["-srand", "1", "rnn", "-file", "t.txt", "train", "r.cfg"]])
def test_rnn_train_is_train(model, monkeypatch, words):
    asked = []
    monkeypatch.setattr("darknet_py.cli.train.run", lambda arguments: asked.append(arguments) or 0)
    assert main(words) == 0
    (arguments,) = asked
    assert (arguments.data, arguments.cfg, arguments.weights) == ("t.txt", "r.cfg", None)
    assert arguments.clear == ("-clear" in words) and arguments.seed == (1 if "-srand" in words else None)


def test_rnn_train(model, cli):
    Path("r.cfg").write_text(CFG.replace("max_batches=100", "max_batches=3"))
    code, out, _ = cli("rnn", "train", "r.cfg", "-file", "t.txt", "-device", "cpu", "-map", "-srand", "1")
    assert code == 0 and "saved backup/r_final.weights" in out


@pytest.mark.parametrize("words, data, message", [
    (["valid", "gru.cfg", "gru.weights"], b"", "expected a text of at least 2 bytes, found 0"),
    (["valid", "gru.cfg", "gru.weights"], b"ab\xc3\xa4", "the text: byte 2 is 195, the network takes bytes below 128"),
    (["valid", "gru.cfg", "gru.weights", "-seed", "ä"], TEXT, "the seed: byte 0 is 195"),
    (["valid", "gru.cfg", "gru.weights", "-file", "no.txt"], b"", "no.txt: cannot read the text"),
    (["valid", "gru.cfg"], TEXT, "rnn valid needs CFG WEIGHTS, found no weights"),
    (["generate", "gru.cfg"], b"", "rnn generate needs CFG WEIGHTS, found no weights"),
    (["generate", "gru.cfg", "gru.weights", "-seed", "ä"], b"", "the seed: byte 0 is 195"),
    (["generate", "gru.cfg", "gru.weights", "-temp", "0"], b"", "the temperature needs a number above 0, found 0"),
    (["generate", "gru.cfg", "gru.weights", "-srand", "-1"], b"", "-srand needs a number from 0 on"),
    (["generate", "gru.cfg", "gru.weights", "-tokens", "t.txt"], b"", "t.txt: needs 128 tokens, a line each, found 9"),
    (["train", "gru.cfg"], b"", "data/shakespeare.txt: cannot read the text"),
    (["valid", "picture.cfg", "gru.weights"], TEXT, "picture.cfg:5: is no model of characters"),
    (["valid", "nan.cfg", "nan.weights"], TEXT,
     "layer 1 [connected] gives inf in 256 of 32768 values, for bytes 0 to 255")])
def test_bad_input_is_one_line(model, monkeypatch, cli, words, data, message):
    monkeypatch.setattr(sys, "stdin", Stdin(data))
    Path("picture.cfg").write_text("[net]\nwidth=1\nheight=1\nchannels=3\n[softmax]\n")
    Path("nan.cfg").write_text(Path("gru.cfg").read_text())
    network = load_network("gru.cfg", "gru.weights")
    network.layers[1].bias.data[3] = torch.inf
    network.save_weights("nan.weights")
    if "picture.cfg" in words:
        load_network("picture.cfg").save_weights("gru.weights")
    code, _, err = cli("rnn", *words, "-device", "cpu")
    assert code == 1 and err.count("\n") == 1 and message in err


def test_impossible_characters_are_infinitely_surprising():
    network = load_network(parse_cfg("[net]\ninputs=128\n[softmax]\ntemperature=.001\n"))
    result = perplexity(network, b"abab")
    assert result.each == np.inf and result.text() == "3 Perplexity:  inf    Word Perplexity:  inf"
