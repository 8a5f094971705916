"""docs/limits.md says what the constants say."""
import re
from importlib import import_module

import pytest
from conftest import ROOT

ROWS = re.findall(r"^\| ([^|]+) \| (\d+) \| `([\w.]+)\.(\w+)` \|", (ROOT / "docs/limits.md").read_text(), re.M)


@pytest.mark.parametrize("what, limit, module, constant", ROWS)
def test_the_page_and_the_code(what, limit, module, constant):
    assert getattr(import_module(module), constant) == int(limit), what


def test_every_row_is_read():
    assert len(ROWS) == (ROOT / "docs/limits.md").read_text().count("| `darknet_py.") > 30
