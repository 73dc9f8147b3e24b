# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# A volume with several portals: each is a path with a record, a session and a disk of its own, and multipathd makes one
# map of the disks, which is what a guest gets. Comes after looking.sh, and last: it redefines what one portal needs in a simpler form.
#
# Values besides those of initiator.sh: EVERY_PORTAL (address and port of each, in one word with a slash). LINK may be empty:
# the map tells it. ADDRESS, PORT and PORTAL are those of the portal that is being looked at.
# attach says SILENT for a portal that does not answer: one is enough to go on. Its record stays, for a login by hand.

# A path that is lost is given up after 15 s, for there are others; by itself iscsid would wait for two minutes.
more_settings='node.session.timeo.replacement_timeout = 15
'

# at ADDRESS/PORT: this is the portal from now on.
at() {
    ADDRESS=${1%/*} PORT=${1##*/}
    case $ADDRESS in
        *:*) PORTAL="[$ADDRESS]:$PORT" ;;
        *) PORTAL=$ADDRESS:$PORT ;;
    esac
}

# at_any COMMAND…: 1 if it fails at every portal; else $PORTAL is the first one where it does not.
at_any() {
    for where in $EVERY_PORTAL; do
        at "$where"
        ! "$@" || return 0
    done
    return 1
}

is_logged_in() {
    at_any find_session
}

has_record() {
    at_any is_recorded
}

# Sets $paths to our disks, each between blanks.
find_paths() {
    paths=' '
    for where in $EVERY_PORTAL; do
        at "$where"
        ! find_disk || paths="$paths$device "
    done
}

# Sets $device, $map (its name) and LINK to those of our map; 1 if there is none (yet).
find_device() {
    find_paths
    for folder in /sys/block/dm-*; do
        if read -r uuid <"$folder/dm/uuid" && is_ours && read -r map <"$folder/dm/name"; then
            device=${folder##*/} LINK=/dev/disk/by-id/dm-uuid-$uuid
            return 0
        fi
    done 2>/dev/null
    device=''
    return 1
}

# Is it a map of our disks alone? One whose disks are all gone, because a guest had it too long, is known by its name.
is_ours() {
    slaves=0
    case $uuid in mpath-*) ;; *) return 1 ;; esac
    for slave in "$folder"/slaves/*; do
        [ -e "$slave" ] || continue
        case $paths in *" ${slave##*/} "*) slaves=$((slaves + 1)) ;; *) return 1 ;; esac
    done
    [ "$slaves" -gt 0 ] || [ "$LINK" = "/dev/disk/by-id/dm-uuid-$uuid" ]
}

# --- attach -------------------------------------------------------------------------------------------------------

# Before anything is changed.
connect() {
    say CLEAN yes
    multipathd_answers || fail no-multipathd "nobody would join the paths"
}

wait_for_device() {
    for where in $EVERY_PORTAL; do
        at "$where"
        find_session || add_session
    done
    is_logged_in || give_up portal-dead "none of them: ${EVERY_PORTAL# }"
    seen=''
    for where in $EVERY_PORTAL; do
        at "$where"
        ! find_session || add_path
    done
    wait_until 30 all_paths_are_in || give_up no-map "see its log: the map has not ${paths# }"
    has_wanted_map_size || give_up wrong-size "$device has $((sectors * 512)) bytes, its paths have $bytes"
}

add_session() {
    say CLEAN no
    iscsi -o new || give_up record-failed "$(iscsi_reason)"
    fill_record || give_up record-failed "$out"
    log_in && return
    [ "$trouble" = portal-dead ] || give_up "$trouble" "$(iscsi_reason)"
    say SILENT "$PORTAL"
}

# multipathd takes a disk when udev has told what it is, and (find_multipaths) whose WWID it has been told to join.
add_path() {
    wait_until 20 disk_is_ready || give_up no-device "LUN $LUN does not show up at $PORTAL, or has no bytes"
    check_identity
    is_default_serial && give_up shared-identity "its serial number is '$serial'"
    [ -z "$seen" ] || [ "$wwid" = "$seen" ] || give_up wrong-serial "$device has the WWID '$wwid', another path '$seen'"
    wait_until 20 udev_knows || give_up no-device "there is no link in /dev/disk/by-path for $device"
    [ -n "$seen" ] || root 20 multipath -a "/dev/$device" || give_up no-map "it is told to leave $wwid alone"
    root 20 multipathd add path "$device" || give_up no-map "it does not take $device: $out"
    case $out in *blacklisted*) give_up no-map "it is told to leave $device alone" ;; esac
    seen=$wwid
}

# tgt's: made of its own numbering (see is_default_serial in iscsi.py)
is_default_serial() {
    case $serial in beaf[0-9]*) ;; *) return 1 ;; esac
    case ${serial#beaf} in *[!0-9]*) return 1 ;; esac
}

udev_knows() {
    # shellcheck disable=SC3013  # as in initiator.sh
    [ "/dev/disk/by-path/ip-$ADDRESS:$PORT-iscsi-$IQN-lun-$LUN" -ef "/dev/$device" ]
}

all_paths_are_in() {
    find_device || return 1
    for path in $paths; do
        [ -e "/sys/block/$device/slaves/$path" ] || return 1
    done
}

has_wanted_map_size() {
    read -r sectors <"/sys/block/$device/size" && [ $((sectors * 512)) = "$bytes" ]
}

# --- detach, resize ---------------------------------------------------------------------------------------------------

let_go() {
    ! find_device || remove_map
    for where in $EVERY_PORTAL; do
        at "$where"
        forget
    done
}

# A map without a living path keeps what is written until one comes back: this one must not wait any more.
remove_map() {
    root 10 dmsetup message "$map" 0 fail_if_no_path
    root 30 blockdev --flushbufs "/dev/$device" || [ "$FORCE" = yes ] || fail flush-failed "$out"
    wait_until 15 map_is_gone || [ "$FORCE" = yes ] || fail delete-failed "the map $map does not go away: $out"
}

map_is_gone() {
    root 30 multipath -f "$map"
    ! find_device
}

# Nothing was written but through the map, and a dead path would have to be waited for.
write_back() {
    :
}

rescan() {
    for where in $EVERY_PORTAL; do
        at "$where"
        ! find_disk || rescan_disk
    done
    find_device
    root 30 multipathd resize map "$map" || fail not-grown "multipathd does not resize the map $map: $out"
    wait_until 5 has_wanted_size || fail not-grown "$device has $bytes bytes instead of $WANTED_SIZE"
}
