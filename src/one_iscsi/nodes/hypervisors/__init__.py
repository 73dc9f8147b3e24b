"""The hypervisors: what their guests call a disk, and which shell words plug one in (xen.sh, kvm.sh)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from one_iscsi.errors import WrongState


@dataclass(frozen=True)
class Hypervisor:
    """``prefix`` begins the names of a guest's disks; ``last`` is the last letter they are given by us."""

    name: str
    prefix: str
    last: str

    @property
    def words(self) -> Path:
        """The shell functions that talk to it."""
        return Path(__file__).with_name(f"{self.name}.sh")

    @property
    def target_names(self) -> list[str]:
        """The targets to give, best first: from the top, as oned gives its own disks the lowest free letter and does
        not see ours. The first letter is the guest's own disk."""
        return [self.prefix + chr(letter) for letter in range(ord(self.last), ord("a"), -1)]


# Xen numbers its first 16 disks in the classic way, which every guest kernel understands.
_XEN = Hypervisor("xen", "xvd", "p")
_KVM = Hypervisor("kvm", "vd", "z")

#: VM_MAD of a host → its hypervisor. The add-ons for Xen call theirs xen, xen3, xen4.
_BY_VM_MAD = ((r"kvm|qemu", _KVM), (r"xen\w*", _XEN))


def hypervisor(vm_mad: str) -> Hypervisor:
    """The hypervisor of hosts with this VM_MAD; WrongState for one that is not supported."""
    for pattern, found in _BY_VM_MAD:
        if re.fullmatch(pattern, vm_mad):
            return found
    raise WrongState(f"hosts with VM_MAD {vm_mad!r} are not supported", "volumes go to guests on Xen and KVM")


def is_supported(vm_mad: str) -> bool:
    """Whether volumes can go to guests of hosts with this VM_MAD."""
    return any(re.fullmatch(pattern, vm_mad) for pattern, _ in _BY_VM_MAD)


def target_names(vm_mad: str) -> list[str]:
    """The targets a volume may have in a guest, best first: xvdp … xvdb or vdz … vdb. WrongState as above."""
    return hypervisor(vm_mad).target_names
