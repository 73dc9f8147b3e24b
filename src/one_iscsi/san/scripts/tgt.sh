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

# show: see target.sh. tgtadm tells of every target, in lines whose indentation grows. Attach and detach look often: no
# process of its own goes through them, nor does the shell look closely at those of other targets.
show() {
    tgt --op show --mode target
    shown='' found=''
    set -f
    IFS='
'
    for line in $out; do
        case $line in
            "Target "*)
                shown=$shown$found iqn=${line#*: } number=${line#Target } found=''
                [ "$iqn" != "${IQN:-$iqn}" ] || add "TARGET=${number%%:*}	$iqn"
                ;;
            *) [ -z "$found" ] || show_line "${line#"${line%%[! ]*}"}" ;;
        esac
    done
    unset IFS
    set +f
    shown=$shown$found
    shown=${shown#?} # a line's end
}

# add LINE: one more of the target in $found. (What grows with every line of every target takes long.)
add() {
    found="$found
$1"
}

# show_line TEXT: what $line, TEXT with its indentation, tells of a target; a section's name has an indentation of four.
show_line() {
    case $line in "    "[A-Z]*) section=${1%% *} && return ;; esac
    case $section:$1 in
        I_T:"I_T nexus: "*) sid=${1##* } ;;
        I_T:"Initiator: "*) initiator=${1#*: } initiator=${initiator%% *} ;;
        I_T:"Connection: "*) cid=${1##* } ;;
        I_T:"IP Address: "*) add "SESSION=$sid	$cid	${1##* }	$initiator" ;;
        LUN:"LUN: "*) lun=${1##* } ;;
        LUN:"Type: "*) type=${1##* } ;;
        LUN:"SCSI ID: "*) id=${1#*: } ;;
        LUN:"SCSI SN: "*) serial=${1#*: } ;;
        LUN:"Size: "*", Block size: "*) block=${1##* } ;;
        LUN:"Backing store path: "*) [ "$type" != disk ] || add "DISK=$lun	$block	$id	$serial	${1#*: }" ;;
        Account:*" (outgoing)" | ACL:"$NOBODY") ;;
        Account:*) add "ACCOUNT=${1%% *}" ;;
        ACL:*) add "ACCESS=$1" ;;
    esac
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
