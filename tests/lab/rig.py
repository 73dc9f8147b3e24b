"""The lab's node, oned's stand-in and ``onevolume`` as a user types it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forked import Forked
from lab_node import NODE

from one_iscsi.store import Store

HERE = Path(__file__).resolve().parent
LAB = HERE.parents[1] / "lab"
CORE = HERE.parent / "core"
PORTAL = "127.0.0.1:3260"
#: The same server by another address, which no storage server in the table has: its targets are managed by hand.
BY_HAND = "127.0.0.2:3260"
MIB = 1 << 20


@dataclass(frozen=True)
class Machine:
    """A node of the lab: its hypervisor as oned calls it, the guests it runs, and the first disk of each."""

    name: str
    vm_mad: str
    guests: tuple[str, ...]
    disk: str

    @property
    def options(self) -> tuple[str, ...]:
        """What lab/up has to know besides the name."""
        return ("--kvm",) if self.vm_mad == "kvm" else ()

    def state(self) -> dict[str, Any]:
        """What oned says."""
        return {
            "users": {
                "0": {"name": "oneadmin", "password": "secret", "gid": 0},
                "2": {"name": "ann", "password": "hers", "gid": 1},
            },
            "hosts": {"0": {"name": self.name, "vm_mad": self.vm_mad, "cluster_id": 0}},
            "vms": {
                "7": {"name": "web", "uid": 0, "host": self.name, "targets": [self.disk]},
                "8": {"name": "db", "uid": 0, "host": self.name, "targets": [self.disk]},
                "9": {"name": "anns", "uid": 2, "gid": 1, "host": self.name, "deploy_id": "one-8"},
                "99": {"name": "ghost", "uid": 0, "host": self.name},
            },
        }


XEN = Machine(NODE, "xen", ("one-7", "one-8"), "xvda")
#: Its guest takes minutes to boot.
KVM = Machine(f"{NODE}-kvm", "kvm", ("one-7",), "vda")
#: A storage server by itself: without Xen below it a process starts in a third of the time.
SAN = Machine(f"{NODE}-san", "kvm", (), "")

# What an operation may leave on the node: a line for each thing.
_LEFTOVERS = r"""
for f in /sys/class/iscsi_session/session*/targetname; do [ ! -e "$f" ] || echo "session of $(cat "$f")"; done
[ ! -d /etc/iscsi/nodes ] || find /etc/iscsi/nodes -type f -printf 'record %P\n'
find /dev/disk/by-path -name '*-iscsi-*' -printf 'link %f\n'
. /lab/seed/hypervisor.sh
for guest in {guests}; do guest_disks $guest | sed "s/.*/disk & of $guest/"; done
[ ! -d /var/tmp/one_iscsi ] || find /var/tmp/one_iscsi -name '*.lock' -exec sh -c \
    'for f; do flock -n "$f" true || echo "a script that holds ${f##*/}"; done' - {} +
timeout 10 tgtadm --lld iscsi --op show --mode account | sed -n 's/^    /account /p'
timeout 10 tgtadm --lld iscsi --op show --mode target | awk '
    /^Target / { iqn = $3 }
    /^    [A-Z]/ { section = $1 }
    section == "I_T" && $1 == "Initiator:" { print "connection of " $2 " to " iqn }
    section == "Account" && /^        / { print "account " $1 " of " iqn }
    section == "ACL" && /^        / { print "access for " $1 " to " iqn }'
"""

# What the guest's console said since it was last asked, once it says what is waited for.
_LISTEN = r"""
. /lab/seed/hypervisor.sh
log=$(console_of {guest})
until grep -qF -- {text} $log || [ $SECONDS -ge 60 ]; do sleep 0.1; done
tr -d '\r' < $log
: > $log
"""

_STRANGER = r"""
node() {{ iscsiadm -m node -T {iqn} -p {portal} -I {iface} "$@"; }}
set() {{ node -o update -n "$1" -v "$2"; }}
exec 3>&1 >/dev/null 2>&1
if [ {iface} != default ]; then
    iscsiadm -m iface -I {iface} -o new
    iscsiadm -m iface -I {iface} -o update -n iface.initiatorname -v {initiator}
fi
node -o new
set node.session.initial_login_retry_max 1
set 'node.conn[0].timeo.login_timeout' 5
if [ -n {secret} ]; then
    set node.session.auth.authmethod CHAP
    set node.session.auth.username {iqn}
    set node.session.auth.password {secret}
fi
node --login
echo $? >&3
node --logout
node -o delete
[ {iface} = default ] || iscsiadm -m iface -I {iface} -o delete
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


class Lab:
    """The machines: node, guests, storage server and oned. One of each for all tests; ``Desk`` is new for each."""

    def __init__(self, folder: Path, machine: Machine = XEN) -> None:
        self.oned = folder
        self.machine = machine
        self.first_database = folder / "first.db"
        self.opened_by_hand: set[str] = set()

    def up(self) -> None:
        """The node alone."""
        self._run("up", *self.machine.options, self.machine.name)
        self.env = {**os.environ, **self._exports("env", self.machine.name)}

    def start(self) -> None:
        self.up()
        self.clean()
        self.env.update(self._exports("oned", "start", f"--state={self.oned}"))

    def close(self) -> None:
        self.sweep()
        self._run("oned", "stop", f"--state={self.oned}")

    def down(self) -> None:
        """Away with the node, too."""
        self._run("down", self.machine.name)

    @contextmanager
    def for_a_while(self) -> Iterator[Lab]:
        """Running, and away with it afterwards: each node takes memory."""
        with ExitStack() as stack:
            stack.callback(self.down)
            self.start()
            stack.callback(self.close)
            yield self

    def clean(self) -> None:
        """The state every test begins with."""
        self.reset_oned()
        self.sweep()

    def sweep(self) -> None:
        """Whatever a test, perhaps a failed one, left: away with it."""
        self.root("/lab/seed/fresh " + " ".join(self.machine.guests))
        self.opened_by_hand = set()

    def _run(self, tool: str, *words: str) -> str:
        command = [str(LAB / tool), *words]
        env = {**os.environ, "ONE_ISCSI_LAB_NODE": self.machine.name}
        # not a pipe: the ssh that keeps the connection holds on to stderr
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=said, text=True, timeout=600)
            said.seek(0)
            assert done.returncode == 0, (command, done.stdout, said.read())
        return done.stdout

    def _exports(self, *command: str) -> dict[str, str]:
        words = [word for word in shlex.split(self._run(*command)) if word != "export"]
        return dict(word.split("=", 1) for word in words)

    def root(self, script: str) -> str:
        """Run something on the node as root, as the lab's administrator."""
        return self._run("ssh", "-r", self.machine.name, script)

    def _root_of_guests(self, script: str) -> str:
        return self.root(script.replace("{guests}", " ".join(self.machine.guests)))

    def reboot(self) -> None:
        """Power cut. The guests are gone."""
        self._run("reboot", self.machine.name)

    # -- oned ----------------------------------------------------------------------------------------------------------

    def reset_oned(self, *others: Machine) -> None:
        """oned as every test finds it; ``others`` are its hosts, too."""
        state = self.machine.state()
        for number, other in enumerate(others, 1):
            state["hosts"][str(number)] = other.state()["hosts"]["0"]
        new = self.oned / "reset.json"
        new.write_text(json.dumps(state))
        new.replace(self.oned / "state.json")

    def set(self, **fields: Any) -> None:
        """``vm_7_host="node2"`` is ``lab/oned set DIR vm.7.host=node2``."""
        words = [f"{name.replace('_', '.', 2)}={json.dumps(value)}" for name, value in fields.items()]
        self._run("oned", "set", str(self.oned), *words)

    def fault(self, method: str, **plan: Any) -> None:
        self._run("oned", "set", str(self.oned), f"fault.{method}={json.dumps(plan)}")

    # -- guests --------------------------------------------------------------------------------------------------------

    def hear(self, guest: str, text: str) -> list[str]:
        """What the guest said since it was last heard; waits until ``text`` is among it."""
        said = self.root(_LISTEN.format(guest=guest, text=shlex.quote(text)))
        assert text in said, said
        return said.splitlines()

    def guest(self, verb: str, guest: str, *words: str) -> None:
        """``pause``, ``unpause``, ``write`` DISK; ``rest``: it leaves disks alone.

        A PV guest of Linux 6.1 may hang if one is taken away while it reads or writes: it rests where that comes soon.
        """
        self._run("guest", verb, guest, *words)

    # -- storage server ------------------------------------------------------------------------------------------------

    def target(self, verb: str, *words: str) -> str:
        """``lab/target``."""
        return self._run("target", verb, *words)

    def is_zeros(self, name: str) -> bool:
        """Whether the whole file behind the target reads as zeros."""
        return self.root(f"/lab/seed/target zeros {name} && echo yes || echo no") == "yes\n"

    # -- what is left, and who gets in ---------------------------------------------------------------------------------

    def leftovers(self) -> list[str]:
        """Sessions, records, links and disks on the node; access, accounts and connections on the storage server."""
        allowed = {f"access for ALL to {iqn(name)}" for name in self.opened_by_hand}
        return [line for line in self._root_of_guests(_LEFTOVERS).splitlines() if line not in allowed]

    def stranger(self, name: str, portal: str, secret: str = "", initiator: str = "") -> int:
        """iscsiadm's exit code when somebody else on the node logs in: 19 refused, 24 wrong secret."""
        words = {
            "iqn": iqn(name), "portal": portal, "secret": shlex.quote(secret),
            "iface": "stranger" if initiator else "default", "initiator": initiator,
        }  # fmt: skip
        return int(self.root(_STRANGER.format(**words)))

    def secret(self, name: str) -> str:
        """What the node answers with when the volume's target asks who it is."""
        record = f"/etc/iscsi/nodes/{iqn(name)}/{PORTAL.replace(':', ',')}"
        return self.root(f"sed -n 's/^node.session.auth.password = //p' {record}*").strip()

    # -- scripts of ours at work on the node -----------------------------------------------------------------------

    def is_at_work(self, name: str) -> bool:
        """Whether a script for the volume is running on the node."""
        return self.root(f"flock -n {_lock(name)} true || echo yes") == "yes\n"

    def until_at_work(self, name: str) -> None:
        self.root(f"timeout 60 sh -c 'while flock -n {_lock(name)} true; do sleep 0.1; done'")

    def until_logged_in(self) -> None:
        self.root("timeout 60 sh -c 'until ls /sys/class/iscsi_session/session*; do sleep 0.1; done'")


def _lock(name: str) -> str:
    return f"/var/tmp/one_iscsi/{iqn(name)}.lock"


class Desk:
    """A user's terminal: ``onevolume`` with a table that knows the lab's storage server, tgt1, and no volume."""

    def __init__(self, lab: Lab, folder: Path, forked: Forked) -> None:
        self.lab = lab
        self.forked = forked
        database = folder / "one_volume.db"
        self.url = f"sqlite:///{database}"
        self.env = {**lab.env, "ONE_ISCSI_DATABASE": self.url}
        if lab.first_database.exists():
            shutil.copy(lab.first_database, database)
        else:
            self.ok("san", "create", "tgt1", "--kind", "tgt", "--host", lab.machine.name, "--portal", PORTAL)
            shutil.copy(database, lab.first_database)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """``onevolume WORDS``, still running."""
        return subprocess.Popen(
            [sys.executable, "-m", "one_iscsi.cli", *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, program: str = "onevolume.py") -> Result:
        """``onevolume WORDS``; no command may ever show a traceback."""
        done = self.forked([str(CORE / program), *words], self.env)
        return sound(Result(done.returncode, done.stdout, done.stderr))

    def kill_ssh(self) -> None:
        """kill -9 every ssh client that one of our commands started."""
        found = [folder for folder in Path("/proc").iterdir() if folder.name.isdigit() and self._is_our_ssh(folder)]
        assert found
        for folder in found:
            os.kill(int(folder.name), signal.SIGKILL)

    def _is_our_ssh(self, process: Path) -> bool:
        try:
            return (process / "comm").read_text() == "ssh\n" and self.url.encode() in (process / "environ").read_bytes()
        except OSError:
            return False  # it ended

    def ok(self, *words: str) -> str:
        """The same for a command that must work; what it printed."""
        result = self(*words)
        assert result.code == 0, result.err
        return result.out

    def refused(self, code: int, *words: str) -> str:
        """The same for a command that must fail with ``code`` and change no row; its one line of error."""
        before = self.rows()
        error = self.fails(code, *words)
        assert self.rows() == before
        return error

    def fails(self, code: int, *words: str) -> str:
        """The same for a command that must fail with ``code``; its one line of error."""
        return failure(code, self(*words))

    def killed(self, moment: str, *words: str) -> None:
        """The same, dying by kill -9 at a moment (see killed.py)."""
        assert self(moment, *words, program="killed.py").code == -9

    def rows(self) -> Any:
        """Volumes, attachments and open operations, without what changes with every touch."""
        touched = ("version", "updated_at", "heartbeat")
        with Store.open(self.url) as store:
            found = [*store.volumes(), *store.attachments(), *store.ops()]
        return [{key: value for key, value in vars(row).items() if key not in touched} for row in found]

    def volume(self, ref: str | int) -> Any:
        return json.loads(self.ok("show", str(ref), "-j"))["VOLUME"]

    def status(self, ref: str | int) -> str:
        return str(self.volume(ref)["STATUS"])

    def path(self, ref: str) -> list[str]:
        """The statuses a volume went through, as the audit has them."""
        return [event["TO"] for event in json.loads(self.ok("events", ref, "-j"))["EVENT_POOL"]["EVENT"]]

    def with_volume(self, name: str, size: str, *options: str, portal: str = PORTAL) -> str:
        """A target of tgt that belongs to nobody, registered and free; its id."""
        self.lab.target("create", *options, name, size)
        self.ok("register", iqn(name), "--san", "tgt1", "--portal", portal, "--assume-clean")
        return str(self.volume(name)["ID"])

    def with_static_volume(self, name: str, size: str, *options: str) -> str:
        """A target that somebody else manages, open to all, registered as clean; its id."""
        self.lab.target("create", "--open", "ALL", *options, name, size)
        self.lab.opened_by_hand.add(name)
        self.ok("register", iqn(name), "--portal", BY_HAND, "--size", size, "--lun", "1", "--assume-clean")
        return str(self.volume(name)["ID"])


def ended(process: subprocess.Popen[str]) -> Result:
    """What a command printed, once it has ended."""
    out, err = process.communicate(timeout=300)
    return sound(Result(process.returncode, out, err))


def failure(code: int, result: Result) -> str:
    """The one line of error of a command that had to fail with ``code``."""
    assert result.code == code, (result.out, result.err)
    [line] = result.err.splitlines()
    assert line.startswith("onevolume: ")
    assert result.out == ""
    return line


def sound(result: Result) -> Result:
    """The result, which is none of a command that broke down."""
    assert "Traceback" not in result.err
    assert result.code != 70, result.err
    return result


def wrong(desk: Desk, *words: str) -> list[str]:
    """What ``onevolume check`` calls critical."""
    return [line for line in desk("check", *words).out.splitlines() if line.startswith("FAIL")]


def iqn(name: str) -> str:
    return f"iqn.2024-01.org.lab:{name}"
