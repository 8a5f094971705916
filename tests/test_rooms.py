"""The rooms of the package: imports point down, and few modules lie outside."""
import ast
from pathlib import Path

import pytest

import darknet_py

PACKAGE = Path(darknet_py.__file__).parent
# from the ground up; a room imports from those before it, the command line from all
ROOMS = ["errors", "utils", "ops", "cfg", "zoo", "data", "layers", "model", "losses", "viz", "inference", "evaluation",
         "prepare", "training", "convert", "live", "scale",
         "tools", "dnn", "compat", "__init__", "cli", "__main__"]


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def imported(path):
    """Rooms that a module imports anywhere, in functions too, and where."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            names = [node.module] if node.module != "darknet_py" else [f"darknet_py.{one.name}" for one in node.names]
        elif isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first == "darknet_py":
                room = rest.split(".")[0]
                yield room if room in ROOMS else "__init__", node.lineno


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    place = ROOMS.index(room)
    for other, line in imported(path):
        assert room in ("__init__", "__main__") or ROOMS.index(other) <= place, \
            f"{path}:{line}: {room} imports {other}, which lies above it"


def test_few_modules_lie_outside_the_rooms():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "errors", "compat"}


def test_documented_modules_have_their_old_names_too():
    from darknet_py.custom import new_cfg
    from darknet_py.edit import edit_cfg

    from darknet_py.prepare import edit_cfg as edit_module
    from darknet_py.prepare import new_cfg as new_module
    assert new_cfg is new_module.new_cfg and edit_cfg is edit_module.edit_cfg
    assert new_module.__spec__.name == new_module.__name__ == "darknet_py.prepare.new_cfg"
    with pytest.raises(ModuleNotFoundError, match=r"darknet_py\.nothing"):
        __import__("darknet_py.nothing")
