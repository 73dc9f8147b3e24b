# shellcheck shell=sh
# shellcheck disable=SC2154  # $out is set by root in common.sh, $IQN and its like by the caller
# What tgtd reads when it starts: every volume made by one_iscsi has a configuration file of its own, which says all
# the time what the running target says, or is about to. The file is what tells that we made the target.
#
# A file of tgt-admin that names no address opens the target to ALL: a closed one names an address nobody can have.

CONFIG_DIR=/etc/tgt/conf.d

is_ours() {
    config=$CONFIG_DIR/one_iscsi-${IQN##*:}.conf
    [ -e "$config" ] || { [ ! -x "$CONFIG_DIR" ] && root 10 cat "$config" && out=; }
}

# remember [ADDRESSES PASSWORD]: nothing for a target somebody else made.
remember() {
    is_ours || return 0
    if [ -n "$(field DISK 1)" ]; then
        save_config "$(field DISK 1)" "$(field DISK 3)" "$(field DISK 4)" "$(field DISK 5)" "$@"
    else
        read_config # a target without a disk: its backing store was not there when tgtd started
        save_config "$lun" "$scsi_id" "$serial" "$path" "$@"
    fi
}

# read_config: $lun, $scsi_id, $serial, $path of the file.
read_config() {
    root 10 cat "$config" || fail config "$out"
    lun=$(printf '%s\n' "$out" | sed -n 's/^lun //p')
    scsi_id=$(printf '%s\n' "$out" | sed -n 's/^scsi_id //p')
    serial=$(printf '%s\n' "$out" | sed -n 's/^scsi_sn //p')
    path=$(printf '%s\n' "$out" | sed -n 's/^<backing-store \(.*\)>$/\1/p')
    out= # it may have had a password
}

# save_config LUN SCSI-ID SERIAL PATH [ADDRESSES PASSWORD]: whole or not at all, readable by root alone from its first
# byte, and on the disk: after a power failure nobody may get in who was locked out before.
save_config() {
    open_to=
    for address in ${5:-$NOBODY}; do
        open_to="${open_to}initiator-address $address
"
    done
    feed=$(printf '%s\n' "# made by one_iscsi, which rewrites it" "<target $IQN>" "<backing-store $4>" "lun $1" \
        "scsi_id $2" "scsi_sn $3" "</backing-store>" ${6:+"incominguser $IQN $6"} \
        "$open_to</target>")"
"
    root 10 install -m 600 /dev/stdin "$config.new" || fail config "$out"
    # shellcheck disable=SC2034  # read by root
    feed=
    { root 30 sync "$config.new" && root 10 mv -f "$config.new" "$config" && root 30 sync "$CONFIG_DIR"; } ||
        fail config "$out"
}
