# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# What a host has and lacks. Changes nothing. Comes after looking.sh, guest.sh and the words of a hypervisor.
#
# Values: PORTALS (address and port of each, in one word with a slash), SEVERAL (not empty: volumes have several, which
# takes a multipathd). Says GOOD and BAD (see looking.sh), VERSION, and
# what only the front end can judge: INITIATOR, CLOCK, FIND_MULTIPATHS, LVM, HELD (a target and what holds its disk),
# SESSION (a target, the portal's address and port, the state).

# Prints the initiator's name; 1 if there is none of its own.
initiator_name() (
    # shellcheck disable=SC2317 # called by `root`
    fail() { exit 1; }
    root 10 cat /etc/iscsi/initiatorname.iscsi || return 1
    own_initiator_name "$out" || return 1
    printf '%s\n' "$name"
)

has_module() {
    [ -d /sys/module/iscsi_tcp ] || modprobe -n iscsi_tcp
}

# Does somebody take a TCP connection there? bash's own means: nothing needs to be installed.
answers() {
    # shellcheck disable=SC2016 # for the inner shell
    timeout -k 1 5 bash -c ': <"/dev/tcp/$0/$1"' "${1%/*}" "${1##*/}"
}

look_at_multipath() {
    ! multipath_setting || say FIND_MULTIPATHS "$setting"
}

# Which disks LVM would look into.
look_at_lvm() {
    command -v lvmconfig >/dev/null || return 0
    if [ -e /etc/lvm/devices/system.devices ]; then say LVM devices_file=1; fi
    timeout -k 5 10 lvmconfig --typeconfig full devices/global_filter devices/use_devicesfile 2>/dev/null |
        while read -r line; do say LVM "$line"; done
}

look_at_disks() {
    for held in /sys/class/iscsi_session/session*/device/target*/*/block/*/holders/*; do
        [ -e "$held" ] || continue
        session=${held#/sys/class/iscsi_session/} disk=${held%/holders/*} uuid=''
        read -r iqn <"/sys/class/iscsi_session/${session%%/*}/targetname"
        read -r uuid <"$held/dm/uuid"
        say HELD "$iqn ${disk##*/} ${uuid:-${held##*/}}"
    done 2>/dev/null
}

look_at_sessions() {
    for connection in /sys/class/iscsi_connection/connection*; do
        session=/sys/class/iscsi_session/session${connection##*/connection}
        session=${session%%:*}
        read -r iqn <"$session/targetname" && read -r state <"$session/state" &&
            read -r ip <"$connection/persistent_address" && read -r tcp <"$connection/persistent_port" &&
            say SESSION "$iqn $ip $tcp $state"
    done 2>/dev/null
}

main() {
    lock check 10
    has_tools sudo flock timeout tee ip blockdev iscsiadm
    version iscsiadm iscsiadm --version
    folder=/etc/iscsi
    [ ! -d /var/lib/iscsi ] || folder=/var/lib/iscsi
    may_run iscsiadm -m node -T iqn.2026-01.com.example:v -p 192.0.2.1:3260 -o new
    may_run cat /etc/iscsi/initiatorname.iscsi
    may_run tee -a "$folder/nodes/iqn.2026-01.com.example:v/192.0.2.1,3260"
    may_run tee /sys/block/sda/device/delete
    may_run tee /sys/block/sda/device/rescan
    may_run blockdev --flushbufs /dev/sda
    may_run multipath -a /dev/sda
    may_run multipath -f 36001405000000000000000000000000a
    may_run multipathd add path sda
    may_run multipathd resize map 36001405000000000000000000000000a
    may_run dmsetup message 36001405000000000000000000000000a 0 fail_if_no_path
    may_run blockdev --flushbufs /dev/dm-0
    may_wipe
    name=$(initiator_name)
    good_if name '' [ -n "$name" ]
    say INITIATOR "$name"
    good_if daemon '' iscsid_answers
    good_if module '' has_module
    good_if udev '' [ -e /run/udev/control ]
    say CLOCK "$(date +%s)"
    [ -z "$SEVERAL" ] || good_if multipathd '' multipathd_answers
    look_at_multipath
    look_at_lvm
    look_at_disks
    look_at_sessions
    for where in $PORTALS; do
        good_if portal "${where%/*} port ${where##*/}" answers "$where"
    done
    hv_check
}
