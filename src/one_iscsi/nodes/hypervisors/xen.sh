# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# The words of a hypervisor (guest.sh says which), for Xen: xl, or xm where there is no xl or where xend runs, beside
# which xl changes nothing. It goes by the same two files (tools/libxl/xl.c of Xen 4.2 to 4.4).

xen=xl
if ! command -v xl >/dev/null || [ -e /var/lock/subsys/xend ] || [ -e /var/lock/xend ]; then
    xen=xm
fi

# What xl says of one guest is in $out; 1 if there is no such guest, which xl's exit code does not tell.
xen_list() {
    root 20 "$xen" block-list "$DOMAIN"
    case $?:$out in
        *"invalid domain identifier"* | *"Error: Domain '$DOMAIN' does not exist"*) return 1 ;;
        0:*) return 0 ;;
    esac
    fail hypervisor "$(hv_reason)"
}

# xl's table has numbers for names. xvda, xvdb … are 202 << 8 | n << 4, from the 17th on 1 << 28 | n << 8
# (Xen's docs/man/xen-vbd-interface.7).
letters=abcdefghijklmnopqrstuvwxyz

# Sets $number for a target such as xvdb.
xen_number() {
    before=${letters%%"${1#xvd}"*}
    number=$((202 << 8 | ${#before} << 4))
    [ "${#before}" -lt 16 ] || number=$((1 << 28 | ${#before} << 8))
}

# Sets $name for a number; to the number itself if it is a partition, or no xvd disk.
xen_name() {
    name=$1
    rest=$letters
    while [ -n "$rest" ]; do
        letter=${rest%"${rest#?}"} rest=${rest#?}
        xen_number "xvd$letter"
        [ "$number" != "$1" ] || name=xvd$letter
    done
}

xen_state() {
    case $1 in
        4) state=connected ;;
        *) state=state-$1 ;; # 3: left behind by a refused attach, or the guest is paused
    esac
}

# Sets $disks from xl's table in $out and the sources in xenstore; 1 if a disk went away in between.
xen_disks() {
    disks=
    table=$(printf '%s\n' "$out" | grep '^[0-9]') || return 0
    set -- # the places of the sources
    while read -r _ _ _ _ _ _ backend; do
        set -- "$@" "$backend/params"
    done <<EOF
$table
EOF
    root 10 xenstore-read "$@" || return 1
    while read -r number _ _ state _ && read -r source <&3; do
        xen_state "$state"
        xen_name "$number"
        disks="$disks$name $state $source
"
    done <<TABLE 3<<SOURCES
$table
TABLE
$out
SOURCES
}

hv_disks() {
    for _ in 1 2 3 4 5; do
        disks=
        xen_list || return 1
        xen_disks && return 0
    done
    fail hypervisor "$out"
}

# What dom0's block back end in the kernel has of our device, and for which guest: it looks without a process. The name of
# that guest it does not know, only its number. The disk that a refused attach leaves behind never got that far.
hv_glance() {
    find_device && read -r number <"/sys/block/$device/dev" || return 1
    guest=''
    for backend in /sys/bus/xen-backend/devices/vbd-*; do
        read -r physical <"$backend/physical_device" || continue
        case $physical in [0-9a-f]*:[0-9a-f]*) ;; *) continue ;; esac
        [ "$((0x${physical%:*})):$((0x${physical#*:}))" = "$number" ] || continue
        [ -z "$guest" ] || return 1 # two have it: the hypervisor must be asked
        guest=${backend##*/vbd-} ours=${guest#*-} guest=${guest%-*} state=connected
        read -r physical <"$backend/state" || return 1 # before Linux 4.19 it does not tell
        [ "$physical" = Connected ] || state=$physical
    done 2>/dev/null
    [ -n "$guest" ] || return 1
    xen_name "$ours"
    ours=$name
}

hv_plug() {
    case $xen in
        xl) set -- "format=raw,vdev=$1,access=$MODE,target=$LINK" ;;
        xm) set -- "phy:$LINK" "$1" "$MODE" ;;
    esac
    root 60 "$xen" block-attach "$DOMAIN" "$@" && return
    case $out in
        *"invalid domain identifier"* | *"Error: Domain '$DOMAIN' does not exist"*) return 2 ;;
        *"already exists"* | *"already connected"* | *'The device "'*'" is already defined'*) return 3 ;;
        *) return 1 ;;
    esac
}

hv_connected() {
    if hv_glance && [ "$ours" = "$1" ]; then
        [ "$state" = connected ]
        return
    fi
    xen_list || return 1
    xen_number "$1"
    while read -r found _ _ state _; do
        [ "$found:$state" != "$number:4" ] || return 0
    done <<EOF
$out
EOF
    return 1
}

hv_unplug() {
    root 60 "$xen" block-detach "${glanced:-$DOMAIN}" "$1"
}

# Nothing to do: the back end in dom0's kernel keeps comparing the size, and tells the guest (xen_vbd_resize in Linux's
# drivers/block/xen-blkback/blkback.c).
hv_resize() {
    :
}

# The hotplug script's words if it spoke, else the first line: the last one only says that it failed.
hv_reason() {
    printf '%s\n' "$out" |
        sed -e 1h -e '/script: /h' -e '/^Device .* is mounted /h' -e '$!d' -e x -e 's/^libxl: error: [^ ]* //' -e 's/^Error: //'
}

hv_check() {
    has_tools "$xen" xenstore-read
    version "$xen" sh -c 'cat /sys/hypervisor/version/major /sys/hypervisor/version/minor | paste -sd .'
    may_run "$xen" block-list one-0
    may_run "$xen" block-attach one-0 x
    may_run "$xen" block-detach one-0 xvdp
    may_run xenstore-read /local/domain/0/backend/vbd/1/51952/params
    good_if hypervisor '' root 20 "$xen" block-list Domain-0
}
