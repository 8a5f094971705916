"""Parts of gpu_check.py that fail, each in its way, and one that does not."""
import subprocess
import time


def good(job):
    job.write("a figure", value=1.5)


def raises(job):
    job.check("a check", 2, 1)
    with job.attempt("a cell"):
        raise ValueError("on purpose")
    job.write("after it", value=1)
    raise RuntimeError("on purpose")


def hangs(job):
    job.write("before it", value=1)
    subprocess.Popen(["sleep", "600"])
    time.sleep(600)
