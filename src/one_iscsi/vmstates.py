"""What OpenNebula's VM states are called, and which of them let a disk be plugged in or taken out.

Numbers and names: OpenNebula's ``include/VirtualMachine.h`` up to 7.4. Integers, not pyone's enums: those raise for
every state that is newer than the installed pyone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from one_iscsi.errors import WrongState

if TYPE_CHECKING:
    from one_iscsi.frontend import Vm

ACTIVE = 3
DONE = 6

#: STATE. 7 was FAILED and is no longer used.
VM_STATES = {
    0: "INIT",
    1: "PENDING",
    2: "HOLD",
    ACTIVE: "ACTIVE",
    4: "STOPPED",
    5: "SUSPENDED",
    DONE: "DONE",
    8: "POWEROFF",
    9: "UNDEPLOYED",
    10: "CLONING",
    11: "CLONING_FAILURE",
}

#: LCM_STATE, which means something only while STATE is ACTIVE. 13, 14, 55 and 58 are no longer used.
LCM_STATES = {
    0: "LCM_INIT",
    1: "PROLOG",
    2: "BOOT",
    3: "RUNNING",
    4: "MIGRATE",
    5: "SAVE_STOP",
    6: "SAVE_SUSPEND",
    7: "SAVE_MIGRATE",
    8: "PROLOG_MIGRATE",
    9: "PROLOG_RESUME",
    10: "EPILOG_STOP",
    11: "EPILOG",
    12: "SHUTDOWN",
    15: "CLEANUP_RESUBMIT",
    16: "UNKNOWN",
    17: "HOTPLUG",
    18: "SHUTDOWN_POWEROFF",
    19: "BOOT_UNKNOWN",
    20: "BOOT_POWEROFF",
    21: "BOOT_SUSPENDED",
    22: "BOOT_STOPPED",
    23: "CLEANUP_DELETE",
    24: "HOTPLUG_SNAPSHOT",
    25: "HOTPLUG_NIC",
    26: "HOTPLUG_SAVEAS",
    27: "HOTPLUG_SAVEAS_POWEROFF",
    28: "HOTPLUG_SAVEAS_SUSPENDED",
    29: "SHUTDOWN_UNDEPLOY",
    30: "EPILOG_UNDEPLOY",
    31: "PROLOG_UNDEPLOY",
    32: "BOOT_UNDEPLOY",
    33: "HOTPLUG_PROLOG_POWEROFF",
    34: "HOTPLUG_EPILOG_POWEROFF",
    35: "BOOT_MIGRATE",
    36: "BOOT_FAILURE",
    37: "BOOT_MIGRATE_FAILURE",
    38: "PROLOG_MIGRATE_FAILURE",
    39: "PROLOG_FAILURE",
    40: "EPILOG_FAILURE",
    41: "EPILOG_STOP_FAILURE",
    42: "EPILOG_UNDEPLOY_FAILURE",
    43: "PROLOG_MIGRATE_POWEROFF",
    44: "PROLOG_MIGRATE_POWEROFF_FAILURE",
    45: "PROLOG_MIGRATE_SUSPEND",
    46: "PROLOG_MIGRATE_SUSPEND_FAILURE",
    47: "BOOT_UNDEPLOY_FAILURE",
    48: "BOOT_STOPPED_FAILURE",
    49: "PROLOG_RESUME_FAILURE",
    50: "PROLOG_UNDEPLOY_FAILURE",
    51: "DISK_SNAPSHOT_POWEROFF",
    52: "DISK_SNAPSHOT_REVERT_POWEROFF",
    53: "DISK_SNAPSHOT_DELETE_POWEROFF",
    54: "DISK_SNAPSHOT_SUSPENDED",
    56: "DISK_SNAPSHOT_DELETE_SUSPENDED",
    57: "DISK_SNAPSHOT",
    59: "DISK_SNAPSHOT_DELETE",
    60: "PROLOG_MIGRATE_UNKNOWN",
    61: "PROLOG_MIGRATE_UNKNOWN_FAILURE",
    62: "DISK_RESIZE",
    63: "DISK_RESIZE_POWEROFF",
    64: "DISK_RESIZE_UNDEPLOYED",
    65: "HOTPLUG_NIC_POWEROFF",
    66: "HOTPLUG_RESIZE",
    67: "HOTPLUG_SAVEAS_UNDEPLOYED",
    68: "HOTPLUG_SAVEAS_STOPPED",
    69: "BACKUP",
    70: "BACKUP_POWEROFF",
    71: "RESTORE",
}

UNPLUG = "unplug"
NO_GUEST = "no-guest"

#: States a VM leaves only by an administrator's hand.
_FAILED = tuple(name for name in (*VM_STATES.values(), *LCM_STATES.values()) if name.endswith("_FAILURE"))

_RECOVER = "repair it first with onevm recover {id}"

#: What to do before a volume can be attached, by state name; RUNNING is the only state that needs nothing.
ATTACH = {
    **dict.fromkeys(_FAILED, _RECOVER),
    "RUNNING": "",
    "POWEROFF": "start it first with onevm resume {id}",
    "UNDEPLOYED": "start it first with onevm resume {id}",
    "SUSPENDED": "wake it first with onevm resume {id}",
    "STOPPED": "wake it first with onevm resume {id}",
    "HOLD": "let it start first with onevm release {id}",
    "DONE": "it is gone; choose another VM",
    "UNKNOWN": "its host {host} does not report it; see why with onehost show {host}",
}
_ATTACH_OTHERWISE = "wait until it is RUNNING and try again"

#: How a volume can be detached, by state name.
DETACH = {"RUNNING": UNPLUG, "POWEROFF": NO_GUEST, "UNDEPLOYED": NO_GUEST, "DONE": NO_GUEST}

_SAVED = "its saved memory names this disk; wake it with onevm resume {id}, then detach"
_SAVING = "its memory is on its way and names this disk; wait until it is RUNNING and try again"

#: Why a volume cannot be detached, by state name. A guest that is restored opens the paths its saved memory names: a
#: volume that was released meanwhile would give it the next tenant's data.
DETACH_REFUSED = {
    **dict.fromkeys(_FAILED, _RECOVER),
    **dict.fromkeys(("SUSPENDED", "STOPPED"), _SAVED),
    **dict.fromkeys(
        (
            "MIGRATE",
            "SAVE_STOP",
            "SAVE_SUSPEND",
            "SAVE_MIGRATE",
            "PROLOG_MIGRATE",
            "PROLOG_MIGRATE_SUSPEND",
            "PROLOG_RESUME",
            "EPILOG_STOP",
            "BOOT_MIGRATE",
            "BOOT_SUSPENDED",
            "BOOT_STOPPED",
        ),
        _SAVING,
    ),
    "UNKNOWN": "nobody knows whether its guest still uses the disk; see why with onehost show {host}",
    "HOLD": "let it start first with onevm release {id}",
}
_DETACH_OTHERWISE = "wait until it is RUNNING or POWEROFF and try again"


def state_name(state: int, lcm_state: int) -> str:
    """The word oned's logs and hooks use: the LCM state of an ACTIVE VM (``RUNNING``), else the state (``POWEROFF``).

    A number newer than this table is printed as a number.
    """
    names, number = (LCM_STATES, lcm_state) if state == ACTIVE else (VM_STATES, state)
    return names.get(number, str(number))


def attach_refusal(vm: Vm) -> str | None:
    """A line saying the VM's state and what to do before a disk can be plugged into it; None if it can be now."""
    name = state_name(vm.state, vm.lcm_state)
    advice = ATTACH.get(name, _ATTACH_OTHERWISE)
    return f"VM {vm.id} is {name}: {advice.format(id=vm.id, host=vm.host)}" if advice else None


def detach_way(vm: Vm) -> str:
    """UNPLUG if the guest must give the disk back, NO_GUEST if there is none; otherwise WrongState says why not."""
    name = state_name(vm.state, vm.lcm_state)
    if name not in DETACH:
        reason = DETACH_REFUSED.get(name, _DETACH_OTHERWISE)
        raise WrongState(f"VM {vm.id} is {name}", reason.format(id=vm.id, host=vm.host))
    return DETACH[name]
