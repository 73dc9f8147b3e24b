# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# What must be known of a host before its first volume. Comes after looking.sh. Values: ADDRESSES of portals.
# Says INITIATOR (its iSCSI name), SOURCE (a portal's address, and its own towards it) and MULTIPATH.

main() {
    root 10 cat /etc/iscsi/initiatorname.iscsi || fail no-initiator-name "$out"
    initiator=$(printf '%s\n' "$out" | sed -n 's/^[[:space:]]*InitiatorName[[:space:]]*=[[:space:]]*\([^[:space:]]*\).*/\1/p')
    [ -n "$initiator" ] || fail no-initiator-name "/etc/iscsi/initiatorname.iscsi has none"
    say INITIATOR "$initiator"
    for there in $ADDRESSES; do
        route=$(ip -o route get "$there" 2>&1)
        source=${route#* src }
        [ "$source" != "$route" ] || fail no-route "$route"
        say SOURCE "$there ${source%% *}"
    done
    if multipathd_answers; then say MULTIPATH yes; else say MULTIPATH no; fi
}
