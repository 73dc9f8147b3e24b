# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# A volume has grown on its storage server: make the host see it, and let the guest know. Comes after initiator.sh,
# guest.sh and the words of a hypervisor. Can be repeated.
#
# Values besides theirs: WANTED_SIZE (bytes). Without DOMAIN there is no guest; a host that is not logged in sees the
# new size when it logs in.

has_wanted_size() {
    read -r sectors <"/sys/block/$device/size" && bytes=$((sectors * 512)) && [ "$bytes" = "$WANTED_SIZE" ]
}

rescan_disk() {
    feed=1
    root 30 tee "/sys/block/$device/device/rescan" || fail not-grown "$out"
    feed=
    wait_until 5 has_wanted_size || fail not-grown "$device has $bytes bytes instead of $WANTED_SIZE"
}

# Another way for a volume with several portals: see multipath.sh.
rescan() {
    rescan_disk
}

main() {
    lock "$IQN" 60
    if ! find_device; then
        [ -z "$DOMAIN" ] || fail no-device "this host is not logged in"
        return 0
    fi
    rescan
    [ -n "$DOMAIN" ] || return 0
    hv_disks || fail no-domain "$(hv_reason)"
    find_ours || fail not-grown "the guest does not have the disk"
    hv_resize "$ours" || fail not-grown "$(hv_reason)"
}
