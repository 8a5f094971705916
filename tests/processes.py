"""The command line in processes of its own, for tests of what a process does: end, be killed, share work.

To import torch takes longer than what they do. So they are forks of a server, one for each process of pytest, that has
imported everything; with streams, variables and words of their own. Where ``fresh``, they are started as users do it.
"""
import gc
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from functools import cache
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
CLOSED = "closed"       # a stream, as with >&-
LATE = ("darknet_py.training.trainer", "matplotlib.backends.backend_agg", "matplotlib.figure",
        "torch.fx.experimental.symbolic_shapes")        # what verbs import when they need it


class Fork:
    """A process that the server has forked, in the words of ``subprocess.Popen``; with several, the one that waits for
    all of them, of which ``kill`` leaves none. ignored: signals."""

    def __init__(self, words, processes, stdin=None, stdout=None, stderr=None, env=ENVIRONMENT, ignored=()):
        self.stdout, self.returncode, self.processes, sent = None, None, processes, []
        if stdout == subprocess.PIPE:
            far_end, stdout = os.pipe()
            self.stdout, sent = os.fdopen(far_end), [stdout]
        self._status, status = os.pipe()
        streams = [number if stream is None else stdout if stream == subprocess.STDOUT else stream
                   for number, stream in enumerate((stdin, stdout, stderr))]
        request = {"words": words, "processes": processes, "env": dict(env), "folder": os.getcwd(),
                   "streams": [number for number, stream in enumerate(streams) if stream != CLOSED],
                   "ignored": [int(number) for number in ignored]}
        socket.send_fds(server(), [json.dumps(request).encode() + b"\n"], [status, *(
            stream if isinstance(stream, int) else stream.fileno() for stream in streams if stream != CLOSED)])
        for number in (status, *sent):
            os.close(number)
        self.pid = self._number()

    def _number(self):
        return struct.unpack("i", os.read(self._status, 4))[0]

    def wait(self, timeout=None):
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("darknet-py", timeout)
            self.returncode = self._number()
            os.close(self._status)
        return self.returncode

    def send_signal(self, number):
        (os.kill if self.processes == 1 else os.killpg)(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout):
        """(stdout, None). It is killed after so many seconds."""
        timer = threading.Timer(timeout, self.kill)
        timer.start()
        with self.stdout:
            out = self.stdout.read()
        timer.cancel()
        self.wait(timeout)
        return out, None


def start(*words, processes=1, fresh=False, **options) -> Fork | subprocess.Popen:
    """Start darknet-py, in several processes of torch.distributed where asked for; its stdout can be read as text."""
    words, options = [*map(str, words)], {"stdout": subprocess.PIPE} | options
    if not fresh and hasattr(os, "fork"):
        return Fork(words, processes, **options)
    launcher = [] if processes == 1 else [
        "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    ignored = options.pop("ignored", ())
    return subprocess.Popen([sys.executable, *launcher, "-m", "darknet_py", *words],
                            preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in ignored],
                            **{"env": ENVIRONMENT, "text": True} | options)


def finish(*words, **options) -> tuple[int, str, str]:
    """What ``start`` starts, up to its end: (exit code, stdout, stderr)."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = start(*words, **{"stdout": out, "stderr": err} | options)
        try:
            code = process.wait(200)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return code, *(file.seek(0) or file.read() for file in (out, err))


@cache
def server() -> socket.socket:
    """Start the server; it ends with this process, which alone has this end of the socket."""
    ours, its = socket.socketpair()
    with its:
        subprocess.Popen([sys.executable, __file__], stdin=its, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    return ours


def serve() -> None:
    """Import everything, and fork a process for each request; return in those that are to run darknet-py."""
    for module in {f"darknet_py.cli.{module}" for module, _ in import_module("darknet_py.cli").VERBS.values()}:
        import_module(module)
    for module in LATE:
        import_module(module)
    gc.collect()
    gc.freeze()
    control = socket.socket(fileno=os.dup(0))
    while True:
        line, files, *_ = socket.recv_fds(control, 1 << 16, 4)
        while line and not line.endswith(b"\n"):
            line += control.recv(1 << 16)
        if not line:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            return wait_for(json.loads(line), *files)
        for number in files:
            os.close(number)
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
            pass


def wait_for(request, status, *streams) -> None:
    """Fork what was asked for, say which process it is, and at its end how it ended."""
    group = {}
    if several := request["processes"] > 1:
        os.setpgid(0, 0)
        with socket.create_server(("127.0.0.1", 0)) as free:
            group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        group |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(request["processes"]))
    left = set()
    for rank in map(str, range(request["processes"])):
        if (pid := os.fork()) == 0:
            os.close(status)
            return become(request, streams, group | {"RANK": rank, "LOCAL_RANK": rank} if several else {})
        left.add(pid)
    for number in (0, *streams):
        os.close(number)
    os.write(status, struct.pack("i", os.getpid() if several else pid))
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in left]
    os.write(status, struct.pack("i", next(filter(None, codes), 0)))
    os._exit(0)


def become(request, streams, variables) -> None:
    """Be as if started with these streams (one that is closed is None in Python), variables and words."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if number in request["streams"]:
            os.dup2(streams[request["streams"].index(number)], number)
        else:
            os.close(number)
            setattr(sys, name, setattr(sys, f"__{name}__", None))
    for number in streams:
        os.close(number)
    if sys.stdout is not None:
        sys.stdout.reconfigure(line_buffering=os.isatty(1))
    for number in request["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    import_module("numpy").random.seed()
    os.environ.clear()
    os.environ.update(request["env"] | variables)
    os.chdir(request["folder"])
    sys.argv[1:] = request["words"]


if __name__ == "__main__":
    serve()
    runpy.run_module("darknet_py", run_name="__main__", alter_sys=True)
