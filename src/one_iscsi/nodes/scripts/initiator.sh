# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# The initiator's side of a volume: its node record, its session, its SCSI device.
#
# Values: IQN, ADDRESS and PORT of the portal, PORTAL (both, as iscsiadm wants them), LUN, LINK (udev's by-path link),
# CHAP_USER, CHAP_PASSWORD (empty: none), CHAP_TARGET_USER, CHAP_TARGET_PASSWORD (what the target must present; empty:
# nothing). Set here: session (a number), device (a kernel name such as sdb).

more_settings='' # for the record

# iscsi ARGUMENT…: iscsiadm for our target and portal, at most four times while its exit code means "not now":
# 4 connection, 6 database locked, 18 and 20 iscsid, 28 busy, 29 again, 33 (iscsi_err.h). A portal that does not answer,
# 8, or takes the connection and says nothing, 11, has been waited for already.
iscsi() {
    for delay in 0.2 0.5 1 0; do
        root 40 iscsiadm -m node -T "$IQN" -p "$PORTAL" "$@"
        iscsi_code=$?
        case $iscsi_code in
            4 | 6 | 18 | 20 | 28 | 29 | 33) sleep "$delay" ;;
            *) break ;;
        esac
    done
    return "$iscsi_code"
}

# The line of iscsiadm's output ($out) that says why.
iscsi_reason() {
    printf '%s\n' "$out" | sed -n 's/^iscsiadm: //; /reported error/{p;q;}; $p'
}

# Sets $session; 1 if nobody is logged in to our target through our portal.
# sysfs is right at once, and says so for a session whose target is gone; iscsiadm takes 0.3 s to ask.
find_session() {
    for connection in /sys/class/iscsi_connection/connection*; do
        session=${connection##*/connection} session=${session%%:*}
        read -r line <"/sys/class/iscsi_session/session$session/targetname" && [ "$line" = "$IQN" ] &&
            read -r line <"$connection/persistent_address" && [ "$line" = "$ADDRESS" ] &&
            read -r line <"$connection/persistent_port" && [ "$line" = "$PORT" ] && return 0
    done 2>/dev/null
    session=
    return 1
}

no_session() {
    ! find_session
}

# Sets $device to the disk of our LUN in our session; 1 if there is none (yet).
# Links in /dev may still be those of a disk that was there before: they are not asked.
find_disk() {
    device=
    find_session || return 1
    for device in /sys/class/iscsi_session/session"$session"/device/target*/*:"$LUN"/block/*; do
        [ -e "$device" ] && device=${device##*/} && return 0
    done
    device=
    return 1
}

no_device() {
    ! [ -e "/sys/block/$device" ]
}

link_is_ours() {
    # shellcheck disable=SC3013  # dash has it too, and readlink would be one process more a poll
    [ "$LINK" -ef "/dev/$device" ]
}

is_recorded() {
    iscsi -o show
    case $? in
        0) return 0 ;;
        21) return 1 ;;
    esac
    fail record-failed "$(iscsi_reason)"
}

# Append our settings to the node record, all in one write; what comes later in the file wins. The file has mode 0600,
# whereas a password given to iscsiadm itself would be in the list of processes.
fill_record() {
    folder=/etc/iscsi
    [ ! -d /var/lib/iscsi ] || folder=/var/lib/iscsi # where Red Hat keeps the records
    # A rebooted host must not log in by itself. A dead portal takes 6 s; with iscsid's own defaults it takes 120.
    feed='node.startup = manual
node.session.scan = auto
node.session.initial_login_retry_max = 1
node.conn[0].timeo.login_timeout = 5
'"$more_settings"
    [ -z "$CHAP_USER" ] || feed="${feed}node.session.auth.authmethod = CHAP
node.session.auth.username = $CHAP_USER
node.session.auth.password = $CHAP_PASSWORD
"
    [ -z "$CHAP_TARGET_USER" ] || feed="${feed}node.session.auth.username_in = $CHAP_TARGET_USER
node.session.auth.password_in = $CHAP_TARGET_PASSWORD
"
    root 10 tee -a "$folder/nodes/$IQN/$ADDRESS,$PORT"
    tee_code=$?
    # tee shows what it wrote: not for any message
    feed='' out="tee ended with exit code $tee_code"
    return "$tee_code"
}

# 1 and the kind of failure in $trouble if that does not work.
log_in() {
    iscsi --login
    case $? in
        0 | 15) return 0 ;; # 15: a session exists
        8 | 11) trouble=portal-dead ;;
        # iscsid does not tell whether the target refused, or it the target, which did not show the right secret.
        19) if [ -n "$CHAP_TARGET_USER" ]; then trouble=login-mutual; else trouble=login-refused; fi ;;
        20) trouble=iscsid-down ;;
        24) trouble=login-auth ;;
        *) trouble=login-failed ;;
    esac
    return 1
}

# 1 and its name in $other if another disk of our session is mounted, or part of something.
nobody_else() {
    for other in /sys/class/iscsi_session/session"$session"/device/target*/*/block/*; do
        other=${other##*/}
        [ "$other" != "$device" ] || continue
        for holder in "/sys/block/$other/holders"/*; do
            [ ! -e "$holder" ] || return 1
        done
        ! grep -q "^/dev/${other}[0-9]* " /proc/mounts || return 1
    done
}

write_back() {
    root 30 blockdev --flushbufs "/dev/$device" || [ "$FORCE" = yes ] || fail flush-failed "$out"
}

# Write back what is cached and remove the disk, in this order. FORCE=yes: even if it cannot be written back.
remove_device() {
    read -r sectors <"/sys/block/$device/size"
    # A LUN that is gone on the server stays as a disk of no bytes: nothing of it can be written.
    [ "${sectors:-0}" = 0 ] || write_back
    feed=1
    root 30 tee "/sys/block/$device/device/delete" || [ "$FORCE" = yes ] || fail delete-failed "$out"
    feed=
    wait_until 10 no_device || [ "$FORCE" = yes ] || fail delete-failed "$device does not go away"
}

log_out() {
    iscsi --logout
    case $? in
        0 | 21) ;; # 21: no such session
        *) fail logout-failed "$(iscsi_reason)" ;;
    esac
    wait_until 10 no_session || fail logout-failed "the session is still there"
}

# Make the host forget what it has through our portal: disk, session, record.
forget() {
    find_disk
    if [ -n "$session" ]; then
        nobody_else || fail in-use "$other of the same target is in use"
        [ -z "$device" ] || remove_device
        log_out
    fi
    iscsi -o delete
    case $? in
        0 | 21) ;; # 21: no such record
        *) fail record-failed "$(iscsi_reason)" ;;
    esac
}

# --- what is done in another way for a volume with several portals: see multipath.sh --------------------------------

is_logged_in() {
    find_session
}

# Sets $device to what a guest gets; 1 if there is none (yet).
find_device() {
    find_disk
}

has_record() {
    is_recorded
}

let_go() {
    forget
}
