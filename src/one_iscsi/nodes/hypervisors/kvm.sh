# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# The words of a hypervisor (guest.sh says which), for KVM and QEMU under libvirt. Needs no root: OpenNebula puts oneadmin
# into libvirt's group. DOMAIN is a UUID, and the guest is transient: there is no --persistent.

# virsh, limited; what it printed is in $out.
kvm() {
    out=$(timeout -k 5 60 virsh --quiet --connect "${LIBVIRT_URI:-qemu:///system}" "$@" 2>&1)
}

# virsh says "failed to get domain" also when libvirtd only lost the connection: nobody may take that for a guest that
# is gone. $out is what it said, unless there is no such guest.
kvm_has_no_guest() {
    said=$out
    kvm list --all --uuid && guests=$out && kvm list --all --name || return 1
    case "
$guests
$out
" in *"
$DOMAIN
"*)
        out=$said
        return 1
        ;;
    esac
}

hv_disks() {
    disks=
    kvm domblklist --details --domain "$DOMAIN"
    kvm_code=$?
    case $kvm_code:$out in
        *"failed to get domain"*) kvm_has_no_guest && return 1 ;;
    esac
    [ "$kvm_code" = 0 ] || fail hypervisor "$(hv_reason)"
    while read -r _ _ target_there source; do
        [ -z "$target_there" ] || disks="$disks$target_there connected $source
"
    done <<EOF
$out
EOF
}

hv_glance() {
    return 1 # virsh is quick, and needs no root
}

# cache=none always: with the host's page cache neither a live migration nor a detach is safe.
hv_plug() {
    [ "$MODE" = w ] || set -- "$1" --mode readonly
    kvm attach-disk --domain "$DOMAIN" --source "$LINK" --sourcetype block --driver qemu --subdriver raw \
        --cache none --io native --live --target "$@" && return
    case $out in
        *"failed to get domain"*) return 2 ;;
        *duplicated* | *"already exists"*) return 3 ;;
        *) return 1 ;;
    esac
}

hv_connected() {
    hv_disks || return 1
    case "
$disks" in *"
$1 "*) return 0 ;; esac
    return 1
}

# A paused or slow guest: exit code 0, "Disk detached successfully", and the disk is still there.
hv_unplug() {
    kvm detach-disk --domain "$DOMAIN" --target "$1" --live
}

hv_resize() {
    kvm blockresize --domain "$DOMAIN" --path "$1" --size "${WANTED_SIZE}B"
}

hv_reason() {
    printf '%s\n' "$out" | sed -n '$s/^error: //; $p'
}

# Guests run as oneadmin, and libvirt leaves the owner of a disk alone: so OpenNebula wants it (dynamic_ownership = 0).
opens_disks() {
    case " $(id -Gn) " in *" disk "* | *" root "*) ;; *) return 1 ;; esac
}

hv_check() {
    has_tools virsh
    version virsh virsh --version
    good_if hypervisor '' kvm list
    good_if disks '' opens_disks
}
