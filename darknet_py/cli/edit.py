"""Change values of a cfg, which must build with them; all other text stays as it is.

edit my.cfg net.width=608 yolo.classes=4    of [net], and of all [yolo], with the filters before them
edit my.cfg yolo[2].mask=6,7,8 139.max=90   of the third [yolo] (they count from 0), and of layer 139
edit my.cfg yolo.random=                    takes the key out
"""
from __future__ import annotations

import argparse
import os

from darknet_py.cli.output import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cfg", help="the .cfg file, or with -o a name that darknet-py zoo lists, or a model")
    parser.add_argument("changes", nargs="+", metavar="SECTION.KEY=VALUE", help="what to change")
    parser.add_argument("--out", "--o", metavar="FILE", help="the cfg to write (default: the same)")
    parser.add_argument("--force", action="store_true", help="-out may be a file that is there")


def run(arguments: argparse.Namespace) -> int:
    from darknet_py.errors import DarknetError
    from darknet_py.prepare.edit_cfg import differences, edit_cfg, read_changes
    from darknet_py.zoo.models import is_name, open_cfg, stands_alone
    changes = read_changes(arguments.changes, "edit")
    if arguments.out is not None:
        check_free(arguments.out, arguments.force)
    elif stands_alone(arguments.cfg):
        kind = "a network of the zoo" if is_name(arguments.cfg) else "a model"
        raise DarknetError(f"{arguments.cfg} is {kind}: -o FILE names the cfg to write")
    old = open_cfg(arguments.cfg)
    new = edit_cfg(old, changes)
    if new is old and arguments.out is None:
        say(f"{arguments.cfg}: says so already")
        return 0
    out = arguments.cfg if arguments.out is None else arguments.out
    new.write(out)
    for line, section, key, before, after in differences(old, new):
        say(f"{arguments.cfg}:{line}: [{section}] {key}: {'(none)' if before is None else before} -> "
            f"{'(none)' if after is None else after}")
    say(f"wrote {out}")
    return 0


def check_free(out: str, force: bool) -> None:
    """Raise a DarknetError where a file would be overwritten without -force."""
    from darknet_py.errors import DarknetError
    if not force and os.path.exists(out):
        raise DarknetError(f"{out} is there already: -force overwrites it, -o FILE writes another one")
