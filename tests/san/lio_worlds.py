"""Two storage servers with LIO for the same stories: a fake configfs in a folder, and the kernel of the lab's node."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fakes.world import make_program
from initiator import initiator_name, log_in, log_out
from rig import SAN, Lab
from worlds import OPENNEBULA, Refused, Stumbling

from one_iscsi.iscsi import Portal
from one_iscsi.model import Chap, San, Volume
from one_iscsi.remote import Remote
from one_iscsi.san import StorageServer, server

HERE = Path(__file__).parent
RECORDED = HERE.parent / "data" / "lio"
PORTAL = Portal("127.0.0.1", 3261)

# Every directory, every link and those files that our scripts read or write, with what is in them.
_TREE = r"""
cd /sys/kernel/config/target
find core/*_* iscsi/iqn* \( -name '*alua*' -o -name '*statistics' -o -name param -o -name pr \) -prune -o \
    -type d -printf '%p/\n' -o -type l -printf '%p@\n' -o -type f \( -name control -o -name enable -o -name udev_path \
    -o -name vpd_unit_serial -o -name block_size -o -name emulate_write_cache -o -name generate_node_acls \
    -o -name authentication -o -name dynamic_sessions -o -path '*/acls/*/info' -o -path '*/acls/*/auth/*password*' \
    -o -path '*/acls/*/auth/*userid*' \) -print | LC_ALL=C sort | while read -r path; do
    case $path in
        */ | *@) echo "$path" ;;
        *) value='' && IFS= read -r value <"$path"; echo "$path: $value" ;;
    esac
done 2>/dev/null
"""

# As an admin may have it: nobody gets in yet. LUN 1, so that only its own names tell it from ours.
_MAKE = r"""
set -e
head -c {size} /dev/zero | tr '\0' x >{path}
cd /sys/kernel/config/target
put() {{ printf %s "$1" | tee "$(pwd)/$2" >/dev/null; }}
under=$(pwd)/iscsi/{iqn} object=$(pwd)/core/fileio_7/by_hand
mkdir "$(pwd)/core/fileio_7"
mkdir "$object"
put 'fd_dev_name={path},fd_dev_size={size}' core/fileio_7/by_hand/control
put {path} core/fileio_7/by_hand/udev_path
put 1 core/fileio_7/by_hand/enable
put {serial} core/fileio_7/by_hand/wwn/vpd_unit_serial
mkdir "$under"
mkdir "$under/tpgt_1"
mkdir "$under/tpgt_1/lun/lun_1"
ln -s "$object" "$under/tpgt_1/lun/lun_1/by_hand"
mkdir "$under/tpgt_1/np/{portal}"
put 1 iscsi/{iqn}/tpgt_1/enable
"""

_IS_IN = r"""
cd /sys/kernel/config/target/iscsi/{iqn}/tpgt_1
grep -s 'LIO Session ID' acls/*/info
tr -d '\0' <dynamic_sessions
"""

_LEFT = r"""
cd /sys/kernel/config/target
ls core | grep -v '^alua$'
ls iscsi | grep ^iqn
[ ! -d {room}/one_iscsi ] || ls -A {room}/one_iscsi
[ ! -d /dev/vg0 ] || ls /dev/vg0
true
"""


def volume(number: int, serial: str = "", size_bytes: int = 0) -> Volume:
    name = f"v{number}"
    return Volume(
        id=number, name=name, iqn=f"iqn.2024-01.org.lab:{name}", lun=1, portals=(PORTAL,), size_bytes=size_bytes,
        serial=serial, wwid="", san_id=1, status="free", version=1,
    )  # fmt: skip


class LioWorld:
    """What is the same in both: the words of an admin, in a shell on the server."""

    #: The initiator that `session` is.
    host: str
    #: Where the volumes are, 64 MiB.
    room: str
    server: StorageServer

    def root(self, script: str) -> str:
        raise NotImplementedError

    def tree(self) -> list[str]:
        return self.root(_TREE).splitlines()

    def left(self) -> list[str]:
        """Every target, every object and every file there is."""
        return self.root(_LEFT.format(room=self.room)).split()

    def make(self, number: int, serial: str) -> Volume:
        """A target made by hand, on 1 MiB of x."""
        vol = volume(number, serial, 1 << 20)
        self.root(_MAKE.format(iqn=vol.iqn, path=self.by_hand, size=vol.size_bytes, serial=serial, portal=PORTAL))
        return vol

    def let_in(self, number: int, initiator: str) -> None:
        """Give somebody an access list, as an admin does."""
        self.root(f"mkdir /sys/kernel/config/target/iscsi/{volume(number).iqn}/tpgt_1/acls/{initiator}")

    def put(self, value: str, number: int, name: str) -> None:
        """Write into a file of a target's portal group."""
        folder = f"/sys/kernel/config/target/iscsi/{volume(number).iqn}/tpgt_1"
        self.root(f"printf %s '{value}' | tee {folder}/{name} >/dev/null")

    def lose(self, number: int, what: str) -> None:
        """Take a disk or a portal out of LIO, as if it had not been there when LIO was restored."""
        path = f"/sys/kernel/config/target/iscsi/{volume(number).iqn}/tpgt_1/{what}"
        self.root(f"for link in {path}/*; do [ ! -L $link ] || rm -- $link; done; rmdir {path}")

    def portals(self, number: int) -> list[str]:
        return self.root(f"ls /sys/kernel/config/target/iscsi/{volume(number).iqn}/tpgt_1/np").split()

    def is_in(self, number: int) -> bool:
        """Whether somebody is logged in."""
        return bool(self.root(_IS_IN.format(iqn=volume(number).iqn)))


# A new directory of each kind, as recorded.
_NEW = {
    "hba": "core/fileio_7",
    "object": "core/fileio_7/new",
    "target": "iscsi/iqn.2024-01.org.lab:new",
    "group": "iscsi/iqn.2024-01.org.lab:new/tpgt_1",
    "lun": "iscsi/iqn.2024-01.org.lab:new/tpgt_1/lun/lun_1",
    "portal": "iscsi/iqn.2024-01.org.lab:new/tpgt_1/np/127.0.0.1:3261",
    "acl": "iscsi/iqn.2024-01.org.lab:new/tpgt_1/acls/iqn.2024-01.org.lab:host",
    "mapped_lun": "iscsi/iqn.2024-01.org.lab:new/tpgt_1/acls/iqn.2024-01.org.lab:host/lun_1",
}
NEW = "\n".join(f"mkdir /sys/kernel/config/target/{path}" for path in _NEW.values())

#: What changes on the machine, in folders of these names.
_STATE = ("kernel", "saved", "room", "vg0")

_SSH = """#!/bin/bash
while [[ $1 == -* ]]; do shift 2; done
shift
export PATH={path}
exec nsenter --mount -t {pid} -- "$@"
"""

# /etc is as it is here, but for LIO's folder; of /dev there is what a shell needs, and a volume group.
_MACHINE = """
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
mount --bind "$1/kernel" /sys/kernel
mount -t overlay -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/work" overlay /etc
mkdir -p /etc/rtslib-fb-target
mount --bind "$1/saved" /etc/rtslib-fb-target
cp -a /dev/null /dev/zero "$1/dev"
mkdir "$1/dev/vg0"
mount --bind "$1/vg0" "$1/dev/vg0"
mount --rbind "$1/dev" /dev
echo ready
exec cat
"""


# What comes back where a store is missing: LIO makes a file anew; without a logical volume there is no object, nor LUN.
_RESTORE = r"""
cd /sys/kernel/config/target
for object in core/*_*/*; do
    if [ ! -d "$object" ]; then continue; fi
    store=$(cat "$object/udev_path")
    case $object in core/fileio_*) : >>"$store" ;; esac
    if [ -e "$store" ]; then continue; fi
    for lun in $(find iscsi -lname "$PWD/$object" -printf '%h\n'); do
        find iscsi -lname "$PWD/$lun" -printf '%h\n' | xargs -r /bin/rm -r
        /bin/rm -r "$lun"
    done
    /bin/rm -r "${object%/*}"
done
"""


class FakeLio(Stumbling, LioWorld):
    """A machine with /sys/kernel and /etc of its own; "initiators" write into its configfs. Only root can have that."""

    host = "iqn.2026-01.com.example:host"

    def __init__(self, directory: Path, patch: Any) -> None:
        super().__init__(directory)
        self.folder = directory / "lio"
        self.folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.folder], check=True)
        for name in (*_STATE, "groups", "etc", "work", "dev"):
            (self.folder / name).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", self.folder / "room"], check=True)
        self.room, self.by_hand = str(self.folder / "room"), str(self.folder / "by_hand.img")
        self.configfs = self.folder / "kernel/config/target"
        self._load()
        self._unpack()
        for tool in ("mkdir", "rmdir", "ln", "rm", "tee"):
            (self.tools / tool).symlink_to(HERE / "fake" / "configfs")
        make_program(self.tools, "targetctl")
        for tool in ("lvs", "vgs", "lvcreate", "lvextend", "lvremove"):
            (self.tools / tool).symlink_to(HERE / "fake" / "lvm")
        self.machine = subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", _MACHINE, "-", self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.machine.stdout
        assert self.machine.stdout.readline() == b"ready\n"
        path = f"{self.tools}:{HERE / 'fake'}:{os.environ['PATH']}"
        (self.tools / "ssh").write_text(_SSH.format(pid=self.machine.pid, path=path))
        (self.tools / "ssh").chmod(0o755)
        patch.setenv("FAKE_LIO", str(self.folder))
        patch.setenv("ONE_LOCATION", str(OPENNEBULA))
        patch.setenv("SSH", str(self.tools / "ssh"))
        patch.setenv("PATH", path)
        self.use("file")

    def use(self, store_kind: str) -> None:
        """Where volumes are made: ``file`` or ``lvm``."""
        place = {"file": self.room, "lvm": "vg0"}[store_kind]
        self.server = server(San(1, "alpha", "lio", (), "server", f"{store_kind}:{place}"), Remote())

    def _unpack(self) -> None:
        """What mkdir fills a directory with: what was recorded of a new one, without those that were made in it."""
        for line in (RECORDED / "new.txt").read_text().splitlines():
            name, _, value = line.partition(": ")
            kind, path = max(
                ((kind, path) for kind, path in _NEW.items() if f"{name}/".startswith(f"{path}/")),
                key=lambda found: len(found[1]),
            )
            copy = self.folder / "groups" / kind / name[len(path) + 1 :]
            if name.endswith("/"):
                copy.mkdir(parents=True, exist_ok=True)
            else:
                copy.write_text(f"{value}\n" if value else "")

    def root(self, script: str) -> str:
        command = ["nsenter", "--mount", "-t", str(self.machine.pid), "sh", "-c", script]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout

    @contextlib.contextmanager
    def session(self, number: int, chap: Chap | None, initiator: str = host) -> Iterator[Callable[[], bool]]:
        """Log in; yields whether the session is still there."""
        group = self.configfs / "iscsi" / volume(number).iqn / "tpgt_1"
        acl = group / "acls" / initiator
        told = [chap.user, chap.password] if chap else []
        right = [(acl / "auth" / name).read_text().strip() for name in ("userid", "password") if acl.exists()]
        asked = [(one / "attrib/authentication").read_text() for one in (acl, group) if one.exists()]
        is_asked = next(value for value in asked if value != "-1\n") == "1\n"
        if (group / "enable").read_text() != "1\n" or (is_asked and (not told or told != right)):
            raise Refused
        if acl.exists():
            (acl / "info").write_text((RECORDED / "session.txt").read_text().replace("iqn.host", initiator))
        elif (group / "attrib/generate_node_acls").read_text() == "1\n":
            (group / "dynamic_sessions").write_text(f"{initiator}\n\0")
        else:
            raise Refused
        yield lambda: self.is_in(number)
        if group.exists():
            (group / "dynamic_sessions").write_text("")
        if acl.exists():
            (acl / "info").write_text("No active iSCSI Session\n")

    def restart(self) -> None:
        shutil.rmtree(self.configfs)
        self._load()
        for info in self.configfs.glob("iscsi/*/tpgt_1/acls/*/info"):
            info.write_text("No active iSCSI Session\n")
        self.root(_RESTORE)

    def _load(self) -> None:
        """LIO with what was saved."""
        for name in ("core", "iscsi"):
            (self.configfs / name).mkdir(parents=True)
        saved = self.folder / "saved" / "saveconfig.json"
        if saved.exists():
            whole = base64.b64decode(json.loads(saved.read_text())["whole"])
            subprocess.run(["tar", "-xf", "-", "-C", self.configfs.parent], check=True, input=whole)

    def copy(self) -> Path:
        """What there is, to be brought back."""
        to = Path(tempfile.mkdtemp(dir=self.folder))
        for name in _STATE:
            shutil.copytree(self.folder / name, to / name, symlinks=True)
        return to

    def bring_back(self, copy: Path) -> None:
        for name in _STATE:
            subprocess.run(["/bin/rm", "-rf", *(self.folder / name).iterdir()], check=True)
            shutil.copytree(copy / name, self.folder / name, symlinks=True, dirs_exist_ok=True)

    def stop_daemon(self) -> None:
        (self.configfs / "iscsi").rmdir()

    def stop(self) -> None:
        self.machine.communicate()
        subprocess.run(["umount", "--lazy", "--recursive", self.folder], check=True)


# Whatever a test, perhaps a failed one, left.
_CLEAN = """
if [ -n "$(ls /sys/class/iscsi_session)" ]; then timeout 60 iscsiadm -m node -u; iscsiadm -m node -o delete; fi
for made in /sys/kernel/config/target/iscsi/iqn.* /sys/kernel/config/target/core/*_*; do
    [ ! -d "$made" ] || {{ timeout 60 targetctl clear; break; }}
done
mkdir -p /sys/kernel/config/target/iscsi
rm -rf /etc/rtslib-fb-target/saveconfig.json {room}/one_iscsi {by_hand}
mountpoint -q {room} || {{ mkdir -p {room} && mount -t tmpfs -o size=64m tmpfs {room}; }}
"""


class LabLio(LioWorld):
    """LIO of a node of its own, which is its own initiator."""

    room, by_hand = "/srv/volumes", "/srv/by_hand.img"

    def __init__(self, directory: Path, patch: Any) -> None:
        self.lab = Lab(directory, SAN)
        self.lab.up()
        for name in ("SSH", "ONE_LOCATION"):
            patch.setenv(name, self.lab.env[name])
        self.restart()
        self.clean()
        self.host = initiator_name(self.lab)
        self.server = server(San(1, "alpha", "lio", (), SAN.name, f"file:{self.room}"), Remote())

    def root(self, script: str) -> str:
        return self.lab.root(script)

    @contextlib.contextmanager
    def session(self, number: int, chap: Chap | None) -> Iterator[Callable[[], bool]]:
        if not log_in(self.lab, volume(number), chap):
            log_out(self.lab, volume(number))
            raise Refused
        yield lambda: self.is_in(number)
        log_out(self.lab, volume(number))

    def restart(self) -> None:
        self.lab.target("lio")

    def stop_daemon(self) -> None:
        self.root("rmdir /sys/kernel/config/target/iscsi")

    def clean(self) -> None:
        """What the next test begins with."""
        self.root(_CLEAN.format(room=self.room, by_hand=self.by_hand))

    def stop(self) -> None:
        self.lab.down()
