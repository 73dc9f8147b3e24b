# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# Make a host ready to carry volumes, as root: Debian, Red Hat and what descends from them. Can run any number of times.
# Comes after looking.sh. Values: SUDOERS (the text of one_iscsi.sudoers), TAKEN (initiator names of other hosts, one a
# line), RENAME (not empty: give it a new one), SEVERAL (not empty: volumes have several portals, which takes a multipathd).
# Says DONE for what was changed, GOOD for what was right already, INITIATOR at the end.

NAME_FILE=/etc/iscsi/initiatorname.iscsi
SUDOERS_FILE=/etc/sudoers.d/one_iscsi
MULTIPATH_FILE=/etc/multipath/conf.d/one_iscsi.conf

# limited SECONDS COMMAND…: what it printed is in $out
limited() {
    limit=$1
    shift
    out=$(timeout -k 5 "$limit" "$@" 2>&1)
}

last_line() {
    printf '%s\n' "$out" | sed -n '$p'
}

# fetch PACKAGES-OF-DEBIAN PACKAGES-OF-RED-HAT
fetch() {
    # shellcheck disable=SC2086 # they are words
    if command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        set -- apt-get -qq -y install --no-install-recommends $1
        limited 240 "$@" || { limited 120 apt-get -qq update && limited 240 "$@"; } || fail packages "apt-get: $(last_line)"
    else
        manager=$(command -v dnf || command -v yum) ||
            fail packages "neither apt-get nor dnf nor yum is here: install by hand $1"
        limited 400 "$manager" -qy install $2 || fail packages "${manager##*/}: $(last_line)"
    fi
}

install_packages() {
    if command -v iscsiadm >/dev/null && command -v sudo >/dev/null; then
        say GOOD "open-iscsi and sudo are installed"
        return
    fi
    fetch "open-iscsi sudo" "iscsi-initiator-utils sudo"
    command -v iscsiadm >/dev/null || fail packages "iscsiadm is still missing"
    say DONE "open-iscsi and sudo installed"
}

has_sessions() {
    for session in /sys/class/iscsi_session/session*; do
        [ -e "$session" ] && return 0
    done
    return 1
}

# A name of its own, that no other host has. Who is logged in by the old name would be locked out of its disks.
set_initiator_name() {
    renamed='' why=''
    if ! own_initiator_name "$(cat "$NAME_FILE" 2>/dev/null)"; then
        why="the host has no initiator name of its own"
    elif printf '%s\n' "$TAKEN" | grep -qxF -e "$name"; then
        why="another host has the initiator name $name, too"
    elif [ -n "$RENAME" ]; then
        why="the host shall not keep the initiator name $name"
    else
        say GOOD "the initiator name is $name"
        return
    fi
    ! has_sessions ||
        fail sessions "$why, but there are iSCSI sessions: move the VMs away and log out, then run this again"
    name=$(iscsi-iname) || fail initiator-name "iscsi-iname does not work"
    umask 077
    { echo "InitiatorName=$name" >"$NAME_FILE.new" && mv "$NAME_FILE.new" "$NAME_FILE"; } ||
        fail initiator-name "$NAME_FILE cannot be written"
    umask 022
    renamed=yes
    say DONE "$why: it is $name now"
}

is_systemd() {
    [ -d /run/systemd/system ]
}

stop_iscsid() {
    if is_systemd; then limited 60 systemctl stop iscsid.socket iscsid.service; else limited 30 iscsiadm -k 0; fi
    within_10_s iscsid_is_gone || fail iscsid-down "iscsid does not stop: restart it by hand, it has the old name"
}

iscsid_is_gone() {
    ! iscsid_answers
}

within_10_s() {
    for _ in 0 1 2 3 4 5 6 7 8 9; do
        for _ in 0 1 2 3 4 5 6 7 8 9; do
            ! "$@" || return 0
            sleep 0.1
        done
    done
    return 1
}

start_iscsid() {
    if is_systemd; then
        limited 60 systemctl enable --now iscsid.socket || limited 60 systemctl enable --now iscsid.service
    else
        limited 60 service iscsid start || limited 60 service open-iscsi start || limited 30 iscsid
    fi
}

iscsid_at_boot() {
    ! is_systemd || systemctl -q is-enabled iscsid.socket || systemctl -q is-enabled iscsid.service
}

# iscsid reads the name when it starts.
run_iscsid() {
    [ -z "$renamed" ] || stop_iscsid
    if iscsid_answers && iscsid_at_boot 2>/dev/null; then
        say GOOD "iscsid runs"
        return
    fi
    start_iscsid
    within_10_s iscsid_answers || fail iscsid-down "iscsid does not start: $(last_line)"
    say DONE "iscsid started"
}

install_sudoers() {
    grep -Eqs '^[@#]includedir[[:space:]]+/etc/sudoers.d' /etc/sudoers ||
        fail sudoers "/etc/sudoers does not read /etc/sudoers.d: add the line @includedir /etc/sudoers.d"
    if [ "$(cat "$SUDOERS_FILE" 2>/dev/null)" = "$SUDOERS" ]; then
        say GOOD "$SUDOERS_FILE is there"
        return
    fi
    # sudo does not read files with a dot in their name
    { printf '%s\n' "$SUDOERS" >"$SUDOERS_FILE.new" && chmod 0440 "$SUDOERS_FILE.new"; } ||
        fail sudoers "$SUDOERS_FILE cannot be written"
    if ! limited 20 visudo -cf "$SUDOERS_FILE.new"; then
        rm -f "$SUDOERS_FILE.new"
        fail sudoers "visudo refuses the sudoers file: $(last_line)"
    fi
    mv "$SUDOERS_FILE.new" "$SUDOERS_FILE"
    ! command -v restorecon >/dev/null || restorecon "$SUDOERS_FILE"
    say DONE "$SUDOERS_FILE installed"
}

takes_all() {
    multipath_setting && case $setting in no | off | greedy) true ;; *) false ;; esac
}

# Maps that exist stay: multipathd keeps the disks it had (/etc/multipath/wwids).
tame_multipath() {
    if ! takes_all; then
        say GOOD "multipathd does not take guests' disks"
        return
    fi
    {
        mkdir -p "${MULTIPATH_FILE%/*}" &&
            printf '%s\n' "# Of one_iscsi: a disk with one path is a guest's." 'defaults {' '    find_multipaths yes' '}' >"$MULTIPATH_FILE"
    } || fail multipath "$MULTIPATH_FILE cannot be written"
    limited 60 multipathd reconfigure
    ! takes_all || fail multipath "find_multipaths is still $setting: set it to yes in /etc/multipath.conf"
    say DONE "$MULTIPATH_FILE sets find_multipaths to yes"
}

# On Red Hat it does not start without this file.
run_multipathd() {
    [ -n "$SEVERAL" ] || return 0
    if multipathd_answers; then
        say GOOD "multipathd runs"
        return
    fi
    command -v multipathd >/dev/null || fetch "multipath-tools" "device-mapper-multipath"
    [ -e /etc/multipath.conf ] || printf '%s\n' 'defaults {' '    find_multipaths yes' '}' >/etc/multipath.conf ||
        fail multipath "/etc/multipath.conf cannot be written"
    if is_systemd; then limited 60 systemctl enable --now multipathd.service; else limited 60 multipathd; fi
    within_10_s multipathd_answers || fail multipath "multipathd does not start: $(last_line)"
    say DONE "multipathd started"
}

main() {
    [ "$(id -u)" = 0 ] || fail root "this needs root"
    id oneadmin >/dev/null 2>&1 ||
        fail no-oneadmin "there is no user oneadmin: make this machine a host of OpenNebula first (onehost create)"
    exec 9>/run/one_iscsi-prepare.lock
    flock -n 9 || fail busy "the host is being prepared already"
    install_packages
    set_initiator_name
    run_iscsid 9>&-
    install_sudoers
    run_multipathd 9>&-
    tame_multipath
    say INITIATOR "$name"
}
