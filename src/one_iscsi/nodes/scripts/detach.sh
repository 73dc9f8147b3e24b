# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# Take a volume out of a guest and make the host forget it. Comes after initiator.sh, guest.sh and a hypervisor's words.
#
# Values besides theirs: FORCE (yes: go on when cached data cannot be written). Without DOMAIN there is no guest.
# Nothing is touched while the guest holds on to the disk: it would lose it at logout, which succeeds all the same.
# Says UNPLUGGED when no guest has it any more.

main() {
    leaving=yes
    lock "$IQN" 60
    [ -z "$DOMAIN" ] || unplug
    say UNPLUGGED yes
    let_go
}
