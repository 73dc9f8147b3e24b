# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# Wipe a volume from a host that is logged in to it, for storage servers that cannot do it themselves. Comes after
# initiator.sh and wipe.sh of the storage servers. Values besides theirs: ACTION (start or status).

start() {
    find_device || fail no-device "this host is not logged in"
    link_is_ours || fail no-device "$LINK does not lead to $device"
    wipe_start "$LINK" # sdX may be another disk when the job is resumed
}

status() {
    wipe_status
}

main() {
    lock "$IQN" 30
    "$ACTION"
}
