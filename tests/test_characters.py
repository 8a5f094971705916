"""Character models: texts, and a network that learns one by heart."""
from pathlib import Path

import numpy as np
import pytest

from darknet_py import DataError, train
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


@pytest.mark.parametrize("text, message", [
    (None, "cannot read the text"), (b"a", "at least 2 bytes, found 1"),
    (b"ab\xc3\xa4", r"byte 2 is 195, the network takes bytes below 128 \(inputs=\)")])
def test_texts_that_do_not_fit(tmp_path, text, message):
    if text is not None:
        (tmp_path / "a.txt").write_bytes(text)
    with pytest.raises(DataError, match=message):
        Text(tmp_path / "a.txt", 128)


def test_a_sentence_by_heart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r.cfg").write_text(CFG)
    Path("t.txt").write_text("the quick brown fox jumps over the lazy dog.\n" * 20)
    run = train("t.txt", "r.cfg", evaluate=True, device="cpu", seed=1, charts=None)
    assert run.best > .8 and "perplexity" in run.score.text
    again = train("t.txt", "r.cfg", evaluate=True, device="cpu", seed=1, charts=None, clear=True)
    assert again.best == run.best
