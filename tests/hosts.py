"""Hosts for tests of several machines: network namespaces with addresses of their own, joined by a bridge."""
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

from processes import ENVIRONMENT

NO_NAMES = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'   # else torch waits 10 s for an address's name
# Else the processes of a host that was told of the failure look for each other elsewhere than those of one that saw it.
APART = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def ip(*words):
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True)


@cache
def namespaces_permitted() -> bool:
    """Whether this process may make hosts in network namespaces: root on Linux may, in a container that allows it."""
    try:
        with Hosts(1) as hosts:
            return hosts.start(0, "-c", "").wait(60) == 0
    except (OSError, subprocess.SubprocessError):
        return False


class Hosts:
    """A number of hosts, until the context ends.

    Args:
        count: of hosts.
        apart: in a network namespace each, with an address that only they can reach; otherwise all are this host.
    """

    def __init__(self, count: int, apart: bool = True):
        self.count, self.apart, self.stack, self.agents = count, apart, ExitStack(), []
        self.names = [f"dpy{os.getpid()}-{number}" for number in range(count)]
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.addresses = [f"10.203.71.{number + 1}" if apart else "127.0.0.1" for number in range(count)]

    def __enter__(self):
        try:
            if self.apart:
                self._join()
        except BaseException:
            self.stack.close()
            raise
        return self

    def _join(self):
        Path("resolv.conf").write_text("nameserver 127.0.0.1\n")
        switch = f"{self.names[0]}-s"           # a namespace of its own, so that this machine's network stays as it is
        for name in (switch, *self.names):
            ip("netns", "add", name)
            self.stack.callback(ip, "netns", "delete", name)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for number, (name, address) in enumerate(zip(self.names, self.addresses, strict=True)):
            ip("-n", switch, "link", "add", f"port{number}", "type", "veth", "peer", "name", "net0", "netns", name)
            ip("-n", switch, "link", "set", f"port{number}", "master", "bridge", "up")
            ip("-n", name, "address", "add", f"{address}/24", "dev", "net0")
            for device in ("lo", "net0"):
                ip("-n", name, "link", "set", device, "up")

    def __exit__(self, *error):
        for agent in self.agents:
            self.switch_off(agent)
        self.stack.close()

    def start(self, host: int, *words, **options) -> subprocess.Popen:
        """Start Python with these words on a host, in a process group of its own; its stdout and stderr are text."""
        inside = ["ip", "netns", "exec", self.names[host], "sh", "-c", NO_NAMES, "sh", "resolv.conf"]
        return subprocess.Popen(
            [*inside * self.apart, sys.executable, *map(str, words)], text=True, start_new_session=True, **options,
            env=ENVIRONMENT | APART | {"GLOO_SOCKET_IFNAME": "net0" if self.apart else "lo"})

    def torchrun(self, host: int, processes: int, *words, nodes="1:2", restarts=0, wait=60) -> subprocess.Popen:
        """Start darknet-py in so many processes on a host, which meet those of the other hosts at host 0.

        wait: seconds for which the least number of ``nodes`` waits for more.
        """
        agent = self.start(
            host, "-m", "torch.distributed.run", f"--nnodes={nodes}", f"--nproc-per-node={processes}",
            f"--max-restarts={restarts}", "--rdzv-backend=c10d", f"--rdzv-endpoint={self.addresses[0]}:{self.port}",
            f"--rdzv-conf=is_host={'false' if host else 'true'},last_call_timeout={wait},"
            "keep_alive_interval=1", "--rdzv-id=tiny",
            f"--local-addr={self.addresses[host]}", "-m", "darknet_py", *words,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.agents.append(agent)
        return agent

    def switch_off(self, agent: subprocess.Popen) -> None:
        """Kill torchrun and its processes at once."""
        for process in (agent.pid, *descendants(agent.pid)) if agent.poll() is None else ():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        agent.wait()


def children(process: int) -> list[int]:
    """The processes that a process of Linux has started, oldest first."""
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def descendants(process: int) -> list[int]:
    return [one for child in children(process) for one in (child, *descendants(child))]
