"""Flags that do nothing for an action of ``detector`` or ``classifier``."""
import argparse
from importlib import import_module

import pytest

from darknet_py import DarknetError
from darknet_py.cli.action_flags import ALIASES, OF_DARKNET, TAKEN, check, typed_flags


def checked(capsys, verb, action, *words):
    check(verb, argparse.Namespace(action=action, typed=list(words)))
    return capsys.readouterr().err


@pytest.mark.parametrize("verb, action, flag, says", [
    ("detector", "test", "--loop", "detector test does not take -loop, which detector demo does"),
    ("detector", "map", "-codec=FFV1", "detector map does not take -codec, which detector demo does"),
    ("detector", "test", "-track", "detector test does not take -track, which detector demo does"),
    ("detector", "demo", "-amp", "detector demo does not take -amp, which detector train does"),
    ("detector", "map", "-plot", "detector map does not take -plot, which detector calc_anchors does"),
    ("detector", "recall", "-pictures", "detector recall does not take -pictures, which detector test does"),
    ("detector", "calc_anchors", "-precision", "does not take -precision, which detector test, train, map, recall, "),
    ("classifier", "demo", "-avgframes", "classifier demo does not take -avgframes"),
    ("classifier", "valid", "-bind", "classifier valid does not take -bind, which classifier train, demo does"),
    ("classifier", "predict", "-Seed", "classifier predict does not take -seed, which classifier train does"),
])
def test_ours_are_refused(capsys, verb, action, flag, says):
    with pytest.raises(DarknetError, match=says):
        checked(capsys, verb, action, "x.data", flag, "1")


@pytest.mark.parametrize("verb, action, flag, says", [
    ("detector", "test", "-json_port", "detector test: -json_port has no effect; detector demo takes it"),
    ("detector", "demo", "-out", "detector demo: -out has no effect; -json_file_output FILE writes the detections"),
    ("detector", "demo", "-map", "detector demo: -map has no effect; detector train takes it"),
    ("detector", "map", "-benchmark", "detector map: -benchmark has no effect; detector demo takes it"),
    ("classifier", "valid", "-t", ""), ("classifier", "train", "--mjpeg-port", ""),
    ("detector", "train", "-mjpeg_port", ""),
    ("detector", "map", "-dont_show", ""), ("detector", "train", "-chart", ""), ("detector", "demo", "-json_port", ""),
    ("classifier", "predict", "-clear", "classifier predict: -clear has no effect; classifier train takes it"),
])
def test_those_of_darknet_are_accepted(capsys, verb, action, flag, says):
    assert checked(capsys, verb, action, "x.data", flag, "1") == (says and f"warning: {says}\n")


def test_flags_among_words():
    assert typed_flags(["a-b", "-C", "0", "--mAP-epochs=3", "-1", "-t", "x"]) == ["c", "map_epochs", "topk"]


@pytest.mark.parametrize("verb", TAKEN)
def test_all_flags_have_an_action(verb):
    """A flag that the parser knows and the table does not would be refused with every action."""
    parser = argparse.ArgumentParser(add_help=False)
    import_module(f"darknet_py.cli.{verb}").add_arguments(parser)
    known = {ALIASES.get(name, name) for action in parser._actions for word in action.option_strings
             if (name := word.removeprefix("--").replace("-", "_"))}
    listed = frozenset().union(*TAKEN[verb].values())
    assert known - listed <= OF_DARKNET[verb] | ({"letter_box", "http_post_host", "avgframes"} if verb == "classifier"
                                                 else set())
    assert listed <= known


def test_from_the_command_line(workdir, cli):
    for words, says in ((["detector", "map", "x.data", "x.cfg", "x.weights", "-loop"], "does not take -loop"),
                        (["classifier", "predict", "x.data", "x.cfg", "x.weights", "-bind", "::"], "not take -bind")):
        code, _, err = cli(*words)
        assert code == 1 and says in err and err.count("\n") == 1
