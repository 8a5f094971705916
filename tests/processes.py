"""The command line in processes of its own, for tests of what a process does: end, be killed, share work."""
import os
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def start(*words, processes=1, **options) -> subprocess.Popen:
    """Start darknet-py, in several processes of torch.distributed where asked for; its stdout can be read as text."""
    launcher = [] if processes == 1 else [
        "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return subprocess.Popen([sys.executable, *launcher, "-m", "darknet_py", *map(str, words)],
                            **{"env": ENVIRONMENT, "stdout": subprocess.PIPE, "text": True} | options)


def finish(*words, **options) -> tuple[int, str, str]:
    """What ``start`` starts, up to its end: (exit code, stdout, stderr)."""
    with start(*words, stderr=subprocess.PIPE, **options) as process:
        try:
            out, err = process.communicate(timeout=200)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, out, err
