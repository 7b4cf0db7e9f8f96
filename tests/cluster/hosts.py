"""Machines for tests: Linux namespaces that behave like hosts of a lab, each with an address and an sshd of its own.

A host has its own network, processes, mounts, name, ``/tmp``, ``/run``, ``/dev/shm`` and home folder. What it shares
with the others is one switch (a bridge in a namespace of its own, so that nothing of it reaches the machine's network)
and one folder, the lab's shared storage. ``ray stop`` on a host sees the processes of that host alone: without the
namespace of processes it would end every Ray of the machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STORAGE = "/mnt/lab"
"""Where every host has the shared folder."""
TOOLS = ("ip", "unshare", "nsenter", "sshd", "ssh", "ssh-keygen", "rsync", "make")
GATEWAY = "10.77.0.254"
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
REPOSITORY = Path(__file__).parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

BOOT = """
set -e
mount -t tmpfs tmpfs /run
mkdir /run/stage /run/sshd
private() {  # folder, what it shows from now on, what of the folder stays visible
    folder=$1; mount --bind "$2" /run/stage; shift 2
    for kept in "$@"; do
        case $kept in "$folder"/*)
            mkdir -p "/run/stage/${kept#"$folder"/}"; mount --bind "$kept" "/run/stage/${kept#"$folder"/}";;
        esac
    done
    mount --move /run/stage "$folder"
}
mount -t tmpfs -o size=400m tmpfs /dev/shm
mount -t tmpfs tmpfs /mnt
mkdir "$STORAGE"
[ -z "$SHARED" ] || mount --bind "$SHARED" "$STORAGE"
for folder in $READ_ONLY; do mount --bind "$folder" "$folder"; mount -o remount,bind,ro "$folder"; done
private /root "$HOST/home" $KEPT
private /tmp "$HOST/tmp" $KEPT
hostname "$NAME"
/usr/sbin/sshd -D -e -f /root/.ssh/sshd_config 2> /root/.ssh/sshd.log &
wait
"""
SSHD = """
ListenAddress {address}
HostKey /root/.ssh/host_key
AuthorizedKeysFile /root/.ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
MaxStartups 100
PidFile none
"""


def lacking() -> str:
    """Why hosts cannot be made here, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    path = f"{os.environ.get('PATH', '')}:{PATH}"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: apt-get install openssh-server rsync iproute2 make)"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True, check=False
    )
    return "" if tried.returncode == 0 else f"no namespaces here: {tried.stderr.strip()}"


@dataclass
class Host:
    """One machine; `folder` holds its home and its /tmp, which survive a power cut."""

    name: str
    address: str
    namespace: str
    folder: Path
    shared: Path
    process: subprocess.Popen[bytes] | None = None
    pid: int = 0

    @property
    def home(self) -> Path:
        """Its /root, seen from outside."""
        return self.folder / "home"

    def boot(self, sees_storage: bool = True) -> None:
        """Start it; returns when its sshd answers."""
        kept = {sys.prefix, sys.base_prefix, str(REPOSITORY)}
        environment = {
            "PATH": PATH, "NAME": self.name, "HOST": str(self.folder), "STORAGE": STORAGE,
            "SHARED": str(self.shared) if sees_storage else "", "KEPT": " ".join(sorted(kept)),
            "READ_ONLY": " ".join(sorted(kept)),
        }  # fmt: skip
        words = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *words, "bash", "-c", BOOT],
            env=environment, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        log = self.home / ".ssh" / "sshd.log"
        _wait(lambda: log.exists() and "Server listening" in log.read_text(), f"sshd of {self.name}", 20)
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pid = int(children[0])

    def cut_power(self) -> None:
        """End all its processes at once, as a power cut does."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        (self.home / ".ssh" / "sshd.log").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "tmp")
        (self.folder / "tmp").mkdir(mode=0o777)
        self.process = None

    def link(self, up: bool) -> None:
        """Plug its network cable in, or pull it."""
        _ip("-n", self.namespace, "link", "set", "eth0", "up" if up else "down")

    def storage(self, seen: bool) -> None:
        """Mount the shared storage, or take it away, under all that runs; what is left is an empty folder."""
        mounted, away = STORAGE, "/run/away"
        source, place = (away, mounted) if seen else (mounted, away)
        self.run(f"mkdir -p {away} && mount --move {source} {place}")

    def popen(self, command: str, **options: object) -> subprocess.Popen[str]:
        """Begin a command in a login shell of the host."""
        assert self.process is not None
        words = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--uts", "--ipc"]
        clean = {"HOME": "/root", "USER": "root", "PATH": PATH, "TERM": "dumb", "LANG": "C.UTF-8"}
        # Whoever runs the tests in the background has Ctrl-C ignored, and it would stay so.
        words += ["env", "--default-signal=INT", "bash", "--login", "-c", f"cd; {command}"]
        return subprocess.Popen(words, env=clean, text=True, stdin=subprocess.DEVNULL, **options)  # type: ignore[call-overload,no-any-return]

    def run(self, command: str, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; AssertionError with what it said where it fails and `check` is set."""
        process = self.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{self.name}: {command} took over {timeout} s\n{out}\n{err}") from None
        if check and process.returncode:
            raise AssertionError(f"{self.name}: {command} ended with {process.returncode}\n{out}\n{err}")
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def processes(self) -> list[str]:
        """Command lines of what runs on it, besides its first process and sshd."""
        listed = self.run("ps -eo pid=,args=").stdout.splitlines()
        own = ("bash -c", "sshd", "ps -eo", "bash --login")
        words = [line.split(maxsplit=1)[1] for line in listed]
        return [word for word in words if not any(name in word for name in own) and "<defunct>" not in word]

    def ports(self) -> list[str]:
        """Addresses and ports on which something listens, besides sshd."""
        listed = self.run("ss --no-header --listening --tcp --numeric").stdout.splitlines()
        return [line.split()[3] for line in listed if not line.split()[3].endswith(":22")]

    def open_ports(self) -> set[int]:
        """Ports besides sshd's that can be reached from other hosts."""
        places = [place.rpartition(":") for place in self.ports()]
        return {int(port) for address, _, port in places if address.strip("[]") not in LOOPBACK}

    def files(self) -> set[str]:
        """What lies in its home and in its /tmp, by full path; of folders the name alone."""
        seen = {"/root": self.home, "/tmp": self.folder / "tmp"}
        return {f"{name}/{path.name}" for name, folder in seen.items() for path in folder.iterdir()}

    def holding(self, text: str) -> set[str]:
        """Full paths of the files in its home and in its /tmp in which `text` stands."""
        seen = {"/root": self.home, "/tmp": self.folder / "tmp"}
        # Looked at from outside: what is mounted there, such as the environment of the tests, is none of its own.
        files = {
            f"{name}/{path.relative_to(folder)}": path for name, folder in seen.items() for path in folder.rglob("*")
        }
        return {name for name, path in files.items() if path.is_file() and text.encode() in path.read_bytes()}


@dataclass
class Lab:
    """All hosts on one switch."""

    folder: Path
    hosts: dict[str, Host] = field(default_factory=dict)
    switch: str = ""

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    @property
    def shared(self) -> Path:
        """The shared storage, seen from outside."""
        return self.folder / "shared"


@contextlib.contextmanager
def lab(folder: Path, names: Sequence[str]) -> Iterator[Lab]:
    """Hosts of the given names, booted; the first one is where a user sits and holds the key to all."""
    made = Lab(folder, switch=f"lab{os.getpid()}")
    made.shared.mkdir(parents=True)
    try:
        _build(made, names)
        for host in made.hosts.values():
            host.boot()
        yield made
    finally:
        for host in made.hosts.values():
            host.cut_power()
        for namespace in (made.switch, *(host.namespace for host in made.hosts.values())):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def _build(made: Lab, names: Sequence[str]) -> None:
    key = made.folder / "key"
    _keygen(key)
    _ip("netns", "add", made.switch)
    _ip("-n", made.switch, "link", "add", "switch", "type", "bridge")
    _ip("-n", made.switch, "link", "set", "switch", "up")
    for number, name in enumerate(names, start=1):
        host = Host(name, f"10.77.0.{number}", f"{made.switch}-{name}", made.folder / name, made.shared)
        made.hosts[name] = host
        _connect(made.switch, host)
        _furnish(host, key, holds_key=number == 1)


def _connect(switch: str, host: Host) -> None:
    _ip("netns", "add", host.namespace)
    port = f"to-{host.name}"
    _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
    _ip("-n", switch, "link", "set", port, "master", "switch", "up")
    _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _ip("-n", host.namespace, "link", "set", device, "up")
    # It leads nowhere; Ray asks which address a packet to the world would leave from.
    _ip("-n", host.namespace, "route", "add", "default", "via", GATEWAY)


def _furnish(host: Host, key: Path, holds_key: bool) -> None:
    ssh = host.home / ".ssh"
    ssh.mkdir(parents=True)
    (host.folder / "tmp").mkdir(mode=0o777)
    _keygen(ssh / "host_key")
    (ssh / "sshd_config").write_text(SSHD.format(address=host.address))
    shutil.copy(key.with_suffix(".pub"), ssh / "authorized_keys")
    if holds_key:
        shutil.copy(key, ssh / "cluster.pem")
    (host.home / ".bashrc").touch()


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _wait(is_so: object, what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)
