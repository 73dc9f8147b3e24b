# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154  # $out, $tid and their like are set by the other scripts, $IQN and its like by the caller
# A storage server with tgt: one target with one disk for each volume.
#
# Values: those of target.sh; for open also ADDRESSES (of one initiator), CHAP_USER, CHAP_PASSWORD.
#
# What lets an initiator in is its address OR its name; names are never used here, and removed when they are found.
# A target without an account asks for no secret: hence addresses are always closed first and opened last.
# tgtadm takes the password as an argument only: for a moment it shows in the list of processes of this server.

# An address no initiator can have: see tgt_config.sh.
NOBODY=255.255.255.255

# tgtadm ARGUMENT…: its words are in $out. Without tgtd the script ends; also if that dies while it answers, for then the
# exit code may be 0 and a list end anywhere.
tgtadm() {
    root 10 tgtadm --lld iscsi "$@"
    tgt_code=$?
    case $tgt_code:$out in
        107:*) fail daemon-down "tgtd is not running on $(uname -n)" ;;
        *"tgtd closed the socket"* | *"a partial response"* | *"failed to read from tgtd"* | \
            *"can't get the response"* | *"failed to send request buf"*)
            fail daemon-down "tgtd on $(uname -n) went away while it was asked" ;;
    esac
    return "$tgt_code"
}

# tgt ARGUMENT…: the same; whatever it does not do ends the script.
tgt() {
    tgtadm "$@" || fail tgt "tgtadm --op $2 --mode $4: ${out##*tgtadm: }"
}

# tgt_unless_gone ARGUMENT…: the same, but what is not there (22) needs no removing; another failure is met again
tgt_unless_gone() {
    tgtadm "$@" || [ $? -eq 22 ] || tgt "$@"
}

# show: see target.sh.
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

# Addresses and names look alike in the list; an initiator that is logged in stays.
close_access() {
    for access in $accesses; do
        tgtadm --op unbind --mode target --tid "$tid" --initiator-address "$access" ||
            tgt_unless_gone --op unbind --mode target --tid "$tid" --initiator-name "$access"
    done
}

# drop SID CID
drop() {
    tgt_unless_gone --op delete --mode conn --tid "$tid" --sid "$1" --cid "$2"
}

# 22 says little: whether an address could be unbound is looked at. Without an account nobody would be asked for a secret.
all_closed() {
    [ -z "$accesses" ] || fail tgt "$IQN is still open to ${accesses# }"
}

open() {
    find_target
    for other in $from; do
        case " $ADDRESSES " in *" $other "*) ;; *) fail in-use "$other is logged in to $IQN" ;; esac
    done
    say BEGAN yes
    remember "$ADDRESSES" "$CHAP_PASSWORD"
    if [ -n "$accesses" ]; then
        close_access
        look
        all_closed
    fi
    for account in $accounts; do
        tgt_unless_gone --op unbind --mode account --tid "$tid" --user "$account"
    done
    if ! tgtadm --op new --mode account --user "$CHAP_USER" --password "$CHAP_PASSWORD"; then
        # Accounts belong to the whole daemon: one of this name is left over, perhaps of a target that is gone.
        tgt_unless_gone --op delete --mode account --user "$CHAP_USER"
        tgt --op new --mode account --user "$CHAP_USER" --password "$CHAP_PASSWORD"
    fi
    tgt --op bind --mode account --tid "$tid" --user "$CHAP_USER"
    for address in $ADDRESSES; do
        tgt --op bind --mode target --tid "$tid" --initiator-address "$address"
    done
}

# A target that tgtd has not made again yet, after a restart, is closed where tgtd reads it.
close() {
    look
    remember
    [ -n "$tid" ] || ! is_ours || return 0
    has_target
    close_access
    drop_sessions
    all_closed
    tgt_unless_gone --op delete --mode account --user "$CHAP_USER"
}
