# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# A guest and our device, in the words of a hypervisor, which are in hypervisors/xen.sh and hypervisors/kvm.sh:
#   hv_disks               sets $disks to a line "target state source" for each disk of DOMAIN; 1: no such guest
#   hv_glance              sets $ours, $state and $guest, the one that has it, without asking the hypervisor; 1: not
#                          found, which proves nothing
#   hv_plug TARGET         plugs LINK in, MODE w or r; 1: refused, 2: no such guest, 3: the guest has a disk there
#   hv_connected TARGET    has the guest taken the disk?
#   hv_unplug TARGET       asks the guest $glanced, or DOMAIN, to let go; its exit code and words decide nothing
#   hv_resize TARGET       lets the guest know that the disk has WANTED_SIZE bytes now; 1: refused
#   hv_reason              prints the line of $out that says why
#   hv_check               says what the host lacks

leaving=no # yes: the volume is to leave the host
guest=

# Sets $ours and $state to where the guest has our device and how; 1 if it does not have it. Reads $disks.
find_ours() {
    [ -n "$LINK" ] || find_device || {
        ours=
        return 1
    }
    while read -r ours state source; do
        [ "$source" != "$LINK" ] || return 0
    done <<EOF
$disks
EOF
    ours=
    return 1
}

guest_let_go() {
    if [ -n "$glanced" ]; then
        ! hv_glance || [ "$ours" != "$unplugging" ]
        return
    fi
    hv_disks || return 0
    ! find_ours || [ "$ours" != "$unplugging" ]
}

# As hv_disks and find_ours. Where a glance was enough at first it is enough at the end: the kernel sees disks go. It tells
# of any guest: only where the volume is to leave the host it may decide, for the logout would tear it out of that guest.
find_in_guest() {
    if [ "$leaving" = yes ] && hv_glance; then
        glanced=$guest
    else
        [ -z "$glanced" ] && hv_disks && find_ours
    fi
}

# Unplug our device wherever the guest has it, and see that the guest let go. Without a guest that is done already.
unplug() {
    glanced=
    while find_in_guest; do
        unplugging=$ours patience=10 why="it still has $ours"
        hv_unplug "$ours" || patience=0 why=$(hv_reason)
        wait_until "$patience" guest_let_go || fail guest-refused "$why"
    done
}
