"""targetctl save [FILE]: what LIO has, in rtslib's words, as far as our scripts read them, and, so that a restart can
bring it back, all of it as it is.
"""

import base64
import io
import json
import os
import sys
import tarfile
from pathlib import Path

CONFIGFS = Path("/sys/kernel/config/target")


def target(path):
    return {"fabric": "iscsi", "tpgs": [group(one) for one in sorted(path.glob("tpgt_*"))], "wwn": path.name}


def group(path):
    return {
        "enable": (path / "enable").read_text() == "1\n",
        "luns": [disk for lun in path.glob("lun/lun_*") for disk in disks(lun)],
        "node_acls": [access(one) for one in path.glob("acls/*")],
        "portals": [portal(*one.name.rsplit(":", 1)) for one in path.glob("np/*")],
        "tag": int(path.name[5:]),
    }


def disks(lun):
    for link in filter(Path.is_symlink, lun.iterdir()):
        core = link.readlink()
        kind = {"iblock": "block", "fileio": "fileio"}[core.parent.name.rpartition("_")[0]]
        yield {"alias": link.name, "index": number(lun), "storage_object": f"/backstores/{kind}/{core.name}"}


def access(path):
    mapped = [{"index": number(lun), "tpg_lun": number(lun)} for lun in path.glob("lun_*")]
    secret = (path / "auth/password").read_text().strip()
    return {"chap_password": secret, "mapped_luns": mapped, "node_wwn": path.name}


def portal(address, port):
    return {"ip_address": address, "iser": False, "offload": False, "port": int(port)}


def number(lun):
    return int(lun.name[4:])


def serial(core):
    return {"name": core.name, "wwn": (core / "wwn/vpd_unit_serial").read_text().split(": ")[-1].strip()}


def main():
    command, *rest = sys.argv[1:]
    assert command == "save"
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        tar.add(CONFIGFS, "target")
    found = {
        "storage_objects": [serial(core) for core in sorted(CONFIGFS.glob("core/*_*/*/"))],
        "targets": [target(path) for path in sorted(CONFIGFS.glob("iscsi/iqn.*"))],
        "whole": base64.b64encode(whole.getvalue()).decode(),
    }
    os.umask(0o077)
    file = Path(rest[0] if rest else "/etc/rtslib-fb-target/saveconfig.json")
    file.write_text(json.dumps(found, sort_keys=True, indent=2) + "\n")
