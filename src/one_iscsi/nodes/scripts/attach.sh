# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# Log in to a volume and plug it into a guest. Comes after initiator.sh, guest.sh and the words of a hypervisor.
#
# Values besides theirs: TARGETS (the guest targets to try, best first), MODE (w or r), WANTED_SIZE (bytes, 0:
# not known), WANTED_SERIAL and WANTED_WWID (empty: not known, or no proof). Without DOMAIN there is no guest: only log in.
# Says DEVICE, SIZE, SERIAL, WWID, TARGET; if it fails, CLEAN (nothing of it is left) and PLUG_TRIED.
# Where all is done already it changes nothing and gives the same answer.

# Take back what this script has done. A session that was there before is left alone: somebody may live on it.
undo() {
    [ -z "$plug_tried" ] || unplug
    [ "$session_is_new" = no ] || let_go
}

# give_up CODE TEXT: undo, and say whether nothing is left.
give_up() {
    # In the subshell `fail` ends only the undo, and what it prints is why that did not work.
    [ -n "$(undo)" ] || [ "$session_is_new" = no ] || say CLEAN yes
    fail "$1" "$2"
}

# The kernel shows a disk below its session a moment before it shows it in /sys/block.
disk_is_ready() {
    find_disk && read -r sectors <"/sys/block/$device/size" && [ "$sectors" -gt 0 ]
}

# vpd_pg80 has 0, 80 (hexadecimal), 0, the number of bytes that follow, and the serial. `read` drops zeros, also those at
# the end of a serial, and takes a length of 10 for the end of a line.
read_serial() {
    read -r serial
    serial=${serial#?}
    if [ -n "$serial" ]; then serial=${serial#?}; else read -r serial; fi
}

check_identity() {
    bytes=$((sectors * 512))
    [ "$WANTED_SIZE" = 0 ] || [ "$bytes" = "$WANTED_SIZE" ] ||
        give_up wrong-size "$device has $bytes bytes instead of $WANTED_SIZE"
    serial='' wwid='' # not those of another path, where this one has none
    read_serial <"/sys/block/$device/device/vpd_pg80"
    serial=${serial#"${serial%%[! ]*}"} serial=${serial%"${serial##*[! ]}"}
    [ -z "$WANTED_SERIAL" ] || [ "$serial" = "$WANTED_SERIAL" ] ||
        give_up wrong-serial "$device has the serial '$serial' instead of '$WANTED_SERIAL'"
    read -r wwid <"/sys/block/$device/device/wwid"
    [ -z "$WANTED_WWID" ] || [ "$wwid" = "$WANTED_WWID" ] ||
        give_up wrong-serial "$device has the WWID '$wwid' instead of '$WANTED_WWID'"
}

# The session was there before, so this may be an attach that was cut short. The same device twice in one guest must
# never be (xl allows it): if the guest has it already, $target is where.
look_at_guest() {
    hv_disks || fail no-domain "$(hv_reason)"
    find_ours || return 0
    say PLUG_TRIED yes
    case "$state: $TARGETS " in
        "connected:"*" $ours "*) target=$ours ;;
        "connected:"*) fail already-plugged "the guest has it as $ours" ;;
        *) unplug ;; # what a refused attach leaves behind
    esac
}

# Plug in at the first of TARGETS that is free. Which ones are is only looked up after a refusal.
plug() {
    taken=' '
    for target in $TARGETS; do
        case $taken in *" $target "*) continue ;; esac
        plug_tried=yes
        say PLUG_TRIED yes
        hv_plug "$target"
        case $? in
            0) return ;;
            1) give_up guest-refused "$(hv_reason)" ;;
            2) say PLUG_TRIED no && give_up no-domain "$(hv_reason)" ;;
        esac
        say PLUG_TRIED no # refused before it began: the guest has another disk there
        hv_disks
        while read -r name _; do
            taken="$taken$name "
        done <<EOF
$disks
EOF
    done
    give_up target-busy "the guest has other disks at $TARGETS"
}

# --- what is done in another way for a volume with several portals: see multipath.sh --------------------------------

connect() {
    say CLEAN yes
    iscsi -o new || fail record-failed "$(iscsi_reason)" # it replaces one that was left over
    say CLEAN no
    fill_record || give_up record-failed "$out"
    log_in || give_up "$trouble" "$(iscsi_reason)"
}

# Sets $device to what is to be plugged in, once it is certain that it is the volume.
wait_for_device() {
    wait_until 20 disk_is_ready || give_up no-device "LUN $LUN does not show up, or has no bytes"
    check_identity
}

main() {
    say PLUG_TRIED no
    target='' plug_tried='' FORCE=''
    lock "$IQN" 60
    if is_logged_in; then
        session_is_new=no
        [ -z "$DOMAIN" ] || look_at_guest
    else
        session_is_new=yes
        connect
    fi
    wait_for_device
    wait_until 10 link_is_ours || give_up no-device "$LINK does not lead to $device"
    if [ -n "$DOMAIN" ] && [ -z "$target" ]; then
        plug
        wait_until 10 hv_connected "$target" || give_up guest-refused "the guest does not take the disk"
    fi
    say DEVICE "$device"
    say SIZE "$bytes"
    say SERIAL "$serial"
    say WWID "$wwid"
    say TARGET "$target"
}
