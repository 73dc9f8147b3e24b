# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# What there is of a volume on a host. Changes nothing, and waits until no other step for the volume is running.
# Says GUEST, TARGET and STATE (where the guest has it, and how), SESSION, DEVICE, RECORD; yes or no.

main() {
    lock "$IQN" 90
    if [ -n "$DOMAIN" ] && hv_disks; then
        say GUEST yes
        find_ours && say TARGET "$ours" && say STATE "$state"
    fi
    is_logged_in && say SESSION yes
    find_device && say DEVICE "$device"
    if has_record; then say RECORD yes; else say RECORD no; fi
}
