# shellcheck shell=sh
# shellcheck disable=SC2154  # $shown is set by show, $IQN and its like by the caller
# What is the same on every kind of storage server. A kind defines
#   show            sets $shown: what the server tells of the target, or of all targets if $IQN is empty, as lines of an
#                   answer; fields are tab-separated:
#                     TARGET=tid iqn   DISK=lun block-size scsi-id serial path   SESSION=sid cid address initiator
#                     ACCOUNT=name     ACCESS=address-or-name
#   drop SID CID    throws an initiator out
#   open, close
#
# Values: ACTION; IQN (empty: all targets), LUN, SERIAL (empty: not to be checked).

# field NAME NUMBER: one field of every line of this name in $shown.
field() {
    printf '%s\n' "$shown" | sed -n "s/^$1=//p" | cut -f "$2"
}

# look: what `show` tells of our target, as words: $tid (empty: there is none), $accesses, $accounts, $sessions (sid:cid),
# $from (their addresses), $who (one who is logged in). Without a process, for attach and detach look often.
look() {
    show
    tid='' accesses='' accounts='' sessions='' from='' who=''
    while IFS='=	' read -r name first second third fourth; do
        case $name in
            TARGET) tid=$first ;;
            ACCESS) accesses="$accesses $first" ;;
            ACCOUNT) accounts="$accounts $first" ;;
            SESSION) sessions="$sessions $first:$second" from="$from $third" who=$fourth ;;
        esac
    done <<EOF
$shown
EOF
}

find_target() {
    look
    has_target
}

has_target() {
    [ -n "$tid" ] || fail no-target "$(uname -n) has no target $IQN"
}

# nobody_in CODE [WHY]
nobody_in() {
    [ -z "$sessions" ] || fail "$1" "$who is logged in to $IQN${2:-}"
}

# Drop whoever is logged in, until nobody has been seen for 3 s: an initiator comes back within 2 s if it can.
# A login that was under way when access was closed is dropped, too.
drop_sessions() {
    look
    [ -n "$sessions" ] || return 0
    clock
    begin=$now seen=$now
    until [ $((now - seen)) -gt 300 ]; do
        [ $((now - begin)) -lt 1000 ] || fail still-in "$who cannot be kept out of $IQN"
        for session in $sessions; do
            seen=$now
            drop "${session%:*}" "${session#*:}"
        done
        sleep 0.2
        look
        clock
    done
}

# observe: one target or all, with the real size of each backing store (tgt tells rounded megabytes).
observe() {
    show
    [ -z "$shown" ] || printf '%s\n' "$shown"
    while read -r path; do
        if [ -n "$path" ] && size_of "$path"; then say SIZE "$size	$path"; fi
    done <<EOF
$(field DISK 5)
EOF
}

# The backing store is looked up in the live target, once it is certain that nobody can write to it.
start_wipe() {
    find_target
    disk=$(printf '%s\n' "$shown" | grep "^DISK=$LUN	") || fail no-target "$IQN has no disk at LUN $LUN"
    serial=$(printf %s "$disk" | cut -f 4)
    [ -z "$SERIAL" ] || [ "$serial" = "$SERIAL" ] ||
        fail wrong-device "LUN $LUN of $IQN has the serial $serial, not $SERIAL"
    nobody_in in-use
    [ -z "$accesses" ] || fail in-use "$IQN is open to ${accesses# }"
    wipe_start "$(printf %s "$disk" | cut -f 5)"
}

main() {
    [ -z "$IQN" ] || lock "san-$IQN" 30
    "$ACTION"
}
