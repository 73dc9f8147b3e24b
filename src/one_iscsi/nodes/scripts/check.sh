# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# What a host has and lacks. Changes nothing. Says GOOD or BAD with the kind of a thing and the thing; check.py knows
# what they mean. Comes after guest.sh and the words of a hypervisor.

# good_if KIND THING COMMAND…: good if the command succeeds; `fail` in it means bad, and the next thing is looked at
good_if() {
    thing="$1 $2"
    shift 2
    # shellcheck disable=SC2317 # called by `root`: what it finds must not end the check
    if (fail() { exit 1; } && "$@") >/dev/null 2>&1; then say GOOD "$thing"; else say BAD "$thing"; fi
}

# has_tools NAME…
has_tools() {
    for tool in "$@"; do
        good_if tool "$tool" command -v "$tool"
    done
}

# may_run COMMAND…: would sudo let us, as `root` does it?
may_run() {
    good_if sudo "$*" sudo -n -l timeout -k 5 10 "$@"
}

has_initiator_name() {
    root 10 cat /etc/iscsi/initiatorname.iscsi || return 1
    # Debian writes GenerateName=yes until iscsid has been started once.
    printf '%s\n' "$out" | grep -q '^[[:space:]]*InitiatorName[[:space:]]*=[[:space:]]*[a-z]' && ! {
        printf '%s\n' "$out" | grep -q '\.example'
    }
}

has_module() {
    [ -d /sys/module/iscsi_tcp ] || modprobe -n iscsi_tcp
}

main() {
    lock check 10
    has_tools sudo flock timeout tee ip blockdev iscsiadm
    may_run iscsiadm -m node -T iqn.2026-01.com.example:v -p 192.0.2.1:3260 -o new
    may_run cat /etc/iscsi/initiatorname.iscsi
    may_run tee -a /etc/iscsi/nodes/iqn.2026-01.com.example:v/192.0.2.1,3260
    may_run tee /sys/block/sda/device/delete
    may_run blockdev --flushbufs /dev/sda
    good_if initiator name has_initiator_name
    good_if initiator daemon grep -q ISCSIADM_ABSTRACT_NAMESPACE /proc/net/unix
    good_if initiator module has_module
    good_if udev running [ -e /run/udev/control ]
    hv_check
}
