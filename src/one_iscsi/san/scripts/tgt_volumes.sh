# shellcheck shell=sh
# shellcheck disable=SC2153,SC2154  # $out, $shown and their like are set by the other scripts, $IQN and its like by the caller
# shellcheck disable=SC2034  # $on_failure is read by fail
# Making, removing and growing volumes on tgt: configuration file, backing store, target, disk. The file comes first and
# goes last, so whatever stops in between is known to be ours.
#
# Values: those of store.sh, LUN; for create and grow also SIZE (bytes) and SERIAL, for create SCSI_ID.

create() {
    look
    is_ours || [ -z "$tid" ] || foreign "$IQN"
    store_find
    if [ -z "$store_size" ] || [ "$(field DISK 1) $(field DISK 4) $(field DISK 5)" != "$LUN $SERIAL $store" ]; then
        on_failure=unmake
        save_config "$LUN" "$SCSI_ID" "$SERIAL" "$store"
        store_make "$SIZE"
        [ -n "$tid" ] || new_target
        [ -n "$(field DISK 1)" ] || new_disk
        identify "$SCSI_ID"
    fi
    observe
    on_failure=
}

remove() {
    recall
    is_ours || [ -z "$tid" ] || foreign "$IQN"
    nobody_in in-use
    close_access
    look
    nobody_in in-use
    unmake
}

# tgt reads the size when it opens the store: the disk is taken out and put in again.
grow() {
    recall
    has_target
    is_ours || foreign "$IQN"
    nobody_in cannot-grow ", and tgt fixes the size of a disk in use"
    store_find
    [ -n "$store_size" ] || fail no-target "$store on $(uname -n) is gone"
    store_grow "$SIZE"
    [ -z "$(field DISK 1)" ] || tgt --op delete --mode logicalunit --tid "$tid" --lun "$LUN"
    new_disk
    identify "$scsi_id"
    observe
}

# confirm: target and backing store are ours.
confirm() {
    recall
    is_ours || foreign "$IQN"
    has_target
    store_find
    [ -n "$store_size" ] || fail no-target "$store on $(uname -n) is gone"
}

# capacity: TOTAL and FREE. What would keep a volume from being made, or from coming back, is an error.
capacity() {
    show
    [ -x "$CONFIG_DIR" ] ||
        fail no-location "$(id -un) cannot look into $CONFIG_DIR on $(uname -n): chmod 755 /etc/tgt $CONFIG_DIR"
    root 10 grep -q "^include $CONFIG_DIR/" "${CONFIG_DIR%/*}/targets.conf" ||
        fail no-location "targets.conf on $(uname -n) lacks the line: include $CONFIG_DIR/*.conf"
    store_room
}

# What runs now and what was written when the volume was made: $tid, $scsi_id, and the store it has, which need not be
# in the place where new ones are made today.
recall() {
    look
    is_ours || return 0
    read_config
    store_at "$path"
}

# Two at once would take the same number.
new_target() {
    exec 7>"$own_dir/san-tgt-new.lock"
    flock -w 30 7 || fail busy "another target has been made for 30 s"
    tgt --op show --mode target
    tid=$(printf '%s\n' "$out" | awk '/^Target / && $2 + 0 > last { last = $2 + 0 } END { print last + 1 }')
    tgt --op new --mode target --tid "$tid" --targetname "$IQN"
    exec 7>&-
}

new_disk() {
    tgt --op new --mode logicalunit --tid "$tid" --lun "$LUN" --backing-store "$store"
}

identify() {
    tgt --op update --mode logicalunit --tid "$tid" --lun "$LUN" --params "scsi_id=$1,scsi_sn=$SERIAL"
}

unmake() {
    look
    [ -z "$tid" ] || tgt --op delete --mode target --tid "$tid"
    tgt_unless_gone --op delete --mode account --user "$IQN"
    store_find
    [ -z "$store_size" ] || store_remove
    root 10 rm -f -- "$config.new" "$config" || fail config "$out"
}
