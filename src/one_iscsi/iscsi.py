"""Words of iSCSI everyone shares: target names, portals and stable device paths."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from one_iscsi.errors import BadInput

# RFC 3720, 3.2.6.3: iqn.<year>-<month>.<reversed domain>[:<any>], eui.<16 hex>, naa.<16 or 32 hex>; 223 bytes at most.
# Letters, digits, '-', '.' and ':' only; '_' is not in the RFC but storage servers make such names.
_IQN = re.compile(
    r"iqn\.\d{4}-(0[1-9]|1[0-2])\.[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[A-Za-z0-9._:-]+)?"
    r"|eui\.[0-9A-Fa-f]{16}|naa\.[0-9A-Fa-f]{16}(?:[0-9A-Fa-f]{16})?"
)
DEFAULT_PORT = 3260


def check_iqn(text: str) -> str:
    """``text`` if it is an iSCSI name; BadInput otherwise."""
    if len(text) > 223 or not _IQN.fullmatch(text):
        raise BadInput(f"IQN {text!r} is malformed", "an IQN looks like iqn.2026-01.com.example:volume1")
    return text


@dataclass(frozen=True)
class Portal:
    """An address and a TCP port where a target answers. Always an address: open-iscsi matches it to the letter."""

    address: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> Portal:
        """``10.0.0.1``, ``10.0.0.1:3260`` or ``[fd00::1]:3260``; BadInput for names and nonsense."""
        match = re.fullmatch(r"(?:\[(?P<six>[^\]]+)\]|(?P<four>[^:\[\]]+))(?::(?P<port>\d{1,5}))?", text, re.ASCII)
        port = int(match["port"] or DEFAULT_PORT) if match else 0
        try:
            if not match or not 0 < port < 65536:
                raise ValueError
            address = ipaddress.IPv6Address(match["six"]) if match["six"] else ipaddress.IPv4Address(match["four"])
        except ValueError:
            raise BadInput(
                f"portal {text!r} is malformed", "give IP:PORT, such as 10.0.0.1:3260 or [fd00::1]:3260"
            ) from None
        return cls(str(address), port)

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def by_path(self, iqn: str, lun: int) -> str:
        """The udev link of a LUN seen through this portal; IPv6 has no brackets there (60-persistent-storage.rules)."""
        return f"/dev/disk/by-path/ip-{self.address}:{self.port}-iscsi-{iqn}-lun-{lun}"


def multipath_link(wwid: str) -> str:
    """The udev link of the map multipathd makes of the disks with this WWID, which is as the kernel writes it
    (``naa.…``, ``eui.…``); empty for one of which that cannot be told. The digit is scsi_id's, for the kind of name.
    """
    kind, _, number = wwid.partition(".")
    digit = {"naa": "3", "eui": "2"}.get(kind)
    return f"/dev/disk/by-id/dm-uuid-mpath-{digit}{number}" if digit else ""


def is_default_serial(serial: str) -> bool:
    """Whether tgt made the serial up from tid and LUN (``beaf11``): two servers give two volumes the same one."""
    return re.fullmatch(r"beaf\d+", serial) is not None
