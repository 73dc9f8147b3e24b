# shellcheck shell=sh
# shellcheck disable=SC2153,SC2154  # $out, $tid and their like are set by the other scripts, $IQN and its like by the caller
# shellcheck disable=SC2034  # $shown and $feed are read there
# A storage server with LIO, the target in the kernel: one target with one disk for each volume, all of it in portal
# group 1. What is done, is done in configfs, whose files everybody may read; targetctl saves it.
#
# Values: those of target.sh; for open also INITIATOR, CHAP_USER, CHAP_PASSWORD, CHAP_TARGET_USER,
# CHAP_TARGET_PASSWORD.
#
# An initiator gets in if it has an access list of its own there, by its name and its secret, and the target shows it a
# secret in turn; removing the list throws it out at once. There is no demo mode, in which anybody would have one.

CONFIGFS=/sys/kernel/config/target
FABRIC=$CONFIGFS/iscsi
SHARED=yes # LIO has a block device for itself: see wipe.sh
CONFIG_DIR=/etc/rtslib-fb-target # Debian
[ -d "$CONFIG_DIR" ] || CONFIG_DIR=/etc/target

# --- what is there ------------------------------------------------------------------------------------------------

show() {
    [ -d "$FABRIC" ] || fail daemon-down "LIO is not running on $(uname -n)"
    shown=$(targets)
}

targets() {
    for group in "$FABRIC"/${IQN:-*}/tpgt_1; do
        [ -d "$group" ] || continue
        iqn=${group%/*}
        say TARGET "1	${iqn##*/}"
        for link in "$group"/lun/lun_*/*/udev_path; do
            [ -e "$link" ] && disk "${link%/udev_path}"
        done
        read -r demo_mode <"$group/attrib/generate_node_acls"
        if [ "$demo_mode" != 0 ]; then say ACCESS ALL; fi
        for acl in "$group"/acls/*/; do
            [ -d "$acl" ] || continue
            acl=${acl%/}
            say ACCESS "${acl##*/}"
            session "${acl##*/}" <"$acl/info"
        done
        tr -d '\000' <"$group/dynamic_sessions" | while read -r initiator; do say SESSION "-	-	-	$initiator"; done
    done
}

# disk LINK: LIO makes the WWID of the serial.
disk() {
    lun=${1%/*}
    read -r path <"$1/udev_path"
    read -r _ _ _ _ _ serial <"$1/wwn/vpd_unit_serial" # T10 VPD Unit Serial Number: …
    read -r block <"$1/attrib/block_size"
    say DISK "${lun##*/lun_}	$block	$serial	$serial	$path"
}

# session INITIATOR <INFO: of one whose connections are all gone the address is not known.
session() {
    sid='' address=''
    while read -r first second third fourth _; do
        case "$first $second $third" in
            "LIO Session ID:") sid=$fourth ;;
            "CID: "*) cid=$second ;;
            "Address "*) address=$second && say SESSION "$sid	$cid	$address	$1" ;;
        esac
    done
    if [ -n "$sid" ] && [ -z "$address" ]; then say SESSION "$sid	-	-	$1"; fi
}

# --- changes ------------------------------------------------------------------------------------------------------

# changing SECONDS: what changes configfs, and what saves all of it, goes one after another; how long to wait for others.
changing() {
    exec 7>"$own_dir/san-lio.lock"
    flock -w "$1" 7 || fail busy "LIO on $(uname -n) has been changed by other steps for $1 s"
}

# config COMMAND ARGUMENT…: whatever it does not do ends the script.
config() {
    root 30 "$@" || fail lio "$1 ${2##*"$CONFIGFS"/}: $out"
}

# put VALUE FILE: by standard input, so that a secret is no argument; without a newline, which would be part of it.
put() {
    feed=$1
    root 30 tee "$2" || fail lio "${2##*"$CONFIGFS"/}: ${out##*tee: }"
    feed='' out=''
}

# ensure VALUE FILE: Linux before 5.16 does not enable a portal group that is enabled, nor disable one that is not.
ensure() {
    read -r is <"$2"
    [ "$is" = "$1" ] || put "$1" "$2"
}

# directory PATH: unless it is there.
directory() {
    [ -d "$1" ] || config mkdir "$1"
}

# link DISK-OR-LUN DIRECTORY: unless there is one.
link() {
    directory "$2"
    [ -n "$(links "$2")" ] || config ln -s "$1" "$2/one_iscsi"
}

links() {
    for entry in "$1"/*; do
        if [ -L "$entry" ]; then echo "$entry"; fi
    done
}

# unlink DIRECTORY: what is linked there, and the directory.
unlink() {
    [ -d "$1" ] || return 0
    for entry in $(links "$1"); do config rm -- "$entry"; done
    config rmdir "$1"
}

# no_strangers: who has no access list does not get in, and who has one needs a secret.
no_strangers() {
    group=$FABRIC/$IQN/tpgt_1
    ensure 0 "$group/attrib/generate_node_acls"
    ensure 1 "$group/attrib/authentication"
}

# no_exception: since Linux 6.1 an access list may say that its initiator needs no secret.
no_exception() {
    [ -e "$acl/attrib/authentication" ] || return 0
    read -r is <"$acl/attrib/authentication"
    [ "$is" != 0 ] || put 1 "$acl/attrib/authentication"
}

# lock_out INITIATOR: its session ends with its access list.
lock_out() {
    [ -d "$group/acls/$1" ] || return 0 # ALL
    for mapped in "$group/acls/$1"/lun_*; do unlink "$mapped"; done
    config rmdir "$group/acls/$1"
}

# A session of demo mode has no access list: the whole target goes offline for a moment.
drop() {
    ensure 0 "$group/enable"
    ensure 1 "$group/enable"
}

# all_there: LIO has what was saved, but for targets that are being remade. A disk whose volume group came up late, a
# portal whose address did, and whatever is still being restored at this moment would be lost with the next save.
all_there() {
    [ -n "${saved+read}" ] || read_saved
    ! lacking || fail incomplete "LIO on $(uname -n) lacks $path, which was saved: saving now would lose it"
}

# lacking: $path is what is missing; 1 if nothing is.
lacking() {
    while read -r path; do
        [ -d "$FABRIC/$path" ] || [ -e "$own_dir/san-${path%%/*}.remaking" ] || return 0
    done <<EOF
$saved
EOF
    return 1
}

# read_saved: $saved is the portal groups, disks and portals that a restart would bring back, below $FABRIC. Their secrets
# are not even read. rtslib writes a line for each key, in the order of the alphabet.
read_saved() {
    root 10 grep -E '^ *.(fabric|index|ip_address|port|storage_object|tag|wwn).:' "$CONFIG_DIR/saveconfig.json" ||
        [ $? -eq 1 ] || case $out in
        *"No such file"*) out='' ;;
        *) fail config "what was saved cannot be read: $out" ;;
    esac
    saved=$(printf '%s\n' "$out" | awk -F '"' '
        { number = $3; gsub("[^0-9]", "", number) }
        $2 == "index" { lun = number }
        $2 == "storage_object" { parts[++some] = "/lun/lun_" lun }
        $2 == "ip_address" { address = $4 }
        $2 == "port" { parts[++some] = "/np/" address ":" number }
        $2 == "tag" && number != "" {
            paths[++all] = "/tpgt_" number
            for (group = paths[all]; some; some--) paths[++all] = group parts[some]
        }
        $2 == "fabric" { fabric = $4 }
        $2 == "wwn" {
            for (; all; all--) if (fabric == "iscsi") print $4 paths[all]
            some = 0
        }')
}

# remaking: until it is saved, our target may lack what it had: this step, or the one that ends what this one began, has
# taken it away.
remaking() {
    : >"$own_dir/san-$IQN.remaking"
}

# save: what LIO will be after a restart. targetctl alone would leave half a file if it were killed.
save() {
    all_there
    new=$CONFIG_DIR/saveconfig.json.one_iscsi
    { root 60 targetctl save "$new" && all_there && root 30 sync "$new" &&
        root 10 mv -f "$new" "$CONFIG_DIR/saveconfig.json" && root 30 sync "$CONFIG_DIR"; } ||
        fail config "what LIO has now could not be saved: $out"
    rm -f "$own_dir/san-$IQN.remaking"
}

open() {
    find_target
    other=$(field SESSION 4 | grep -vxF -m 1 "$INITIATOR") && fail in-use "$other is logged in to $IQN"
    changing 60
    all_there
    say BEGAN yes
    no_strangers
    for initiator in $accesses; do
        [ "$initiator" = "$INITIATOR" ] || lock_out "$initiator"
    done
    acl=$group/acls/$INITIATOR
    directory "$acl"
    no_exception
    put "$CHAP_USER" "$acl/auth/userid"
    put "$CHAP_PASSWORD" "$acl/auth/password"
    put "$CHAP_TARGET_USER" "$acl/auth/userid_mutual"
    put "$CHAP_TARGET_PASSWORD" "$acl/auth/password_mutual"
    link "$group/lun/lun_$LUN" "$acl/lun_$LUN"
    ensure 1 "$group/enable" # a drop may have been cut short
    save
}

# Nobody gets in, even if that cannot be saved now.
close() {
    find_target
    changing 60
    no_strangers
    for initiator in $accesses; do lock_out "$initiator"; done
    drop_sessions
    save
}
