# shellcheck shell=sh
# shellcheck disable=SC2154  # $out is set by root in common.sh, $IQN and its like by the caller
# A storage server with tgt: one target with one disk for each volume.
#
# Values: ACTION; IQN (empty: all targets), LUN, SERIAL (empty: not to be checked);
# for open also ADDRESS, CHAP_USER, CHAP_PASSWORD. Answers: see `show`.
#
# What lets an initiator in is its address OR its name; names are never used here, and removed when they are found.
# A target without an account asks for no secret: hence addresses are always closed first and opened last.
# tgtadm takes the password as an argument only: for a moment it shows in the list of processes of this server.

# An address no initiator can have: see tgt_config.sh.
NOBODY=255.255.255.255

# tgt ARGUMENT…: tgtadm; whatever it does not do ends the script.
tgt() {
    root 10 tgtadm --lld iscsi "$@" && return
    case $? in
        107) fail daemon-down "tgtd is not running on $(uname -n)" ;;
        *) fail tgt "tgtadm --op $2 --mode $4: ${out##*tgtadm: }" ;;
    esac
}

# tgt_unless_gone ARGUMENT…: the same, but what is not there (22) needs no removing; another failure is met again
tgt_unless_gone() {
    root 10 tgtadm --lld iscsi "$@" || [ $? -eq 22 ] || tgt "$@"
}

# show: $shown is what tgt tells of the target, or of all targets, as lines of an answer; fields are tab-separated:
#   TARGET=tid iqn   DISK=lun block-size scsi-id serial path   SESSION=sid cid address initiator
#   ACCOUNT=name     ACCESS=address-or-name
show() {
    tgt --op show --mode target
    shown=$(printf '%s\n' "$out" | awk -v iqn="$IQN" -v nobody=$NOBODY '
        /^Target / {
            tid = $2; sub(":", "", tid)
            ours = iqn == "" || $3 == iqn
            if (ours) print "TARGET=" tid "\t" $3
            next
        }
        !ours { next }
        /^    [A-Z]/ { section = $1 " " $2; next }
        section == "I_T nexus" && $1 == "I_T" { sid = $3 }
        section == "I_T nexus" && $1 == "Initiator:" { initiator = $2 }
        section == "I_T nexus" && $1 == "Connection:" { cid = $2 }
        section == "I_T nexus" && $1 == "IP" { print "SESSION=" sid "\t" cid "\t" $3 "\t" initiator }
        section == "LUN information:" && $1 == "LUN:" { lun = $2 }
        section == "LUN information:" && $1 == "Type:" { type = $2 }
        section == "LUN information:" && /Block size:/ { block = $NF }
        section == "LUN information:" && /SCSI ID: / { id = substr($0, index($0, ":") + 2) }
        section == "LUN information:" && /SCSI SN: / { serial = substr($0, index($0, ":") + 2) }
        section == "LUN information:" && /Backing store path: / && type == "disk" {
            print "DISK=" lun "\t" block "\t" id "\t" serial "\t" substr($0, index($0, ":") + 2)
        }
        section == "Account information:" && $2 != "(outgoing)" { print "ACCOUNT=" $1 }
        section == "ACL information:" && $1 != nobody { print "ACCESS=" $1 }')
}

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
    [ -n "$tid" ] || fail no-target "tgt on $(uname -n) has no target $IQN"
}

# Addresses and names look alike in the list; an initiator that is logged in stays.
close_access() {
    for access in $accesses; do
        root 10 tgtadm --lld iscsi --op unbind --mode target --tid "$tid" --initiator-address "$access" ||
            tgt_unless_gone --op unbind --mode target --tid "$tid" --initiator-name "$access"
    done
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
            tgt_unless_gone --op delete --mode conn --tid "$tid" --sid "${session%:*}" --cid "${session#*:}"
        done
        pause 0.2
        look
        clock
    done
}

# $now is the time since boot in hundredths of a second.
clock() {
    read -r now _ </proc/uptime
    now=${now%.*}${now#*.}
}

open() {
    find_target
    for other in $from; do
        [ "$other" = "$ADDRESS" ] || fail in-use "$other is logged in to $IQN"
    done
    remember "$ADDRESS" "$CHAP_PASSWORD"
    close_access
    for account in $accounts; do
        tgt_unless_gone --op unbind --mode account --tid "$tid" --user "$account"
    done
    if ! root 10 tgtadm --lld iscsi --op new --mode account --user "$CHAP_USER" --password "$CHAP_PASSWORD"; then
        # Accounts belong to the whole daemon: one of this name is left over, perhaps of a target that is gone.
        tgt_unless_gone --op delete --mode account --user "$CHAP_USER"
        tgt --op new --mode account --user "$CHAP_USER" --password "$CHAP_PASSWORD"
    fi
    tgt --op bind --mode account --tid "$tid" --user "$CHAP_USER"
    tgt --op bind --mode target --tid "$tid" --initiator-address "$ADDRESS"
}

close() {
    find_target
    remember
    close_access
    drop_sessions
    tgt_unless_gone --op delete --mode account --user "$CHAP_USER"
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
    [ -z "$sessions" ] || fail in-use "$who is logged in to $IQN"
    [ -z "$accesses" ] || fail in-use "$IQN is open to ${accesses# }"
    wipe_start "$(printf %s "$disk" | cut -f 5)"
}

main() {
    [ -z "$IQN" ] || lock "san-$IQN" 30
    "$ACTION"
}
