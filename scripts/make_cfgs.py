"""Write the files of cfg/ that follow from the architectures, and the manifest of weights/.

    python scripts/make_cfgs.py             writes them
    python scripts/make_cfgs.py --check     writes nothing; says which are not up to date, and ends with exit status 1

The architectures are in darknet_py/architectures, in the field's terms; cfg/shapes.cfg is make_demo.py's.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from darknet_py.architectures import ARCHITECTURES, cfg_text
from darknet_py.data.files import replacing

ROOT = Path(__file__).resolve().parent.parent


def files() -> dict[str, str]:
    """Path -> text of all that is to be written."""
    return {f"cfg/{name}.cfg": cfg_text(name) for name in ARCHITECTURES}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, say what differs")
    check, stale = parser.parse_args().check, 0
    for name, text in files().items():
        path = ROOT / name
        if path.is_file() and path.read_bytes() == text.encode():
            continue
        stale += 1
        print(f"{name} {'is not what its description says' if check else 'written'}")
        if not check:
            with replacing(path) as file:
                file.write(text.encode())
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
