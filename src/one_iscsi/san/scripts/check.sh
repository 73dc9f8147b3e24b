# shellcheck shell=sh disable=SC2154  # KIND is given by the caller
# What a storage server has and lacks. Changes nothing. Comes after looking.sh. Value: KIND.

check_tgt() {
    has_tools tgtadm awk
    version tgtadm tgtadm --version
    tgt="tgtadm --lld iscsi --op"
    for command in \
        "show --mode target" \
        "bind --mode target --tid 1 --initiator-address 192.0.2.1" \
        "unbind --mode target --tid 1 --initiator-address 192.0.2.1" \
        "delete --mode conn --tid 1 --sid 1 --cid 0" \
        "new --mode account --user iqn.2026-01.com.example:v --password none" \
        "delete --mode account --user iqn.2026-01.com.example:v" \
        "bind --mode account --tid 1 --user iqn.2026-01.com.example:v" \
        "unbind --mode account --tid 1 --user iqn.2026-01.com.example:v"; do
        # shellcheck disable=SC2086 # words
        may_run $tgt $command
    done
}

main() {
    lock check 10
    has_tools sudo flock timeout setsid nice ionice lsblk stat blkdiscard fallocate dd sync cmp
    may_wipe
    "check_$KIND"
}
