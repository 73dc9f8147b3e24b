# shellcheck shell=sh disable=SC2154  # KIND is given by the caller
# What a storage server has and lacks. Changes nothing. Comes after looking.sh.
# Values: KIND; STORE_KIND and STORE, the place where volumes are made (empty: none are); PORTALS, their addresses.

check_tgt() {
    has_tools tgtadm awk
    version tgtadm tgtadm --version
    may_tgt show --mode target
    may_tgt bind --mode target --tid 1 --initiator-address 192.0.2.1
    may_tgt unbind --mode target --tid 1 --initiator-address 192.0.2.1
    may_tgt delete --mode conn --tid 1 --sid 1 --cid 0
    may_tgt new --mode account --user iqn.2026-01.com.example:v --password none
    may_tgt delete --mode account --user iqn.2026-01.com.example:v
    may_tgt bind --mode account --tid 1 --user iqn.2026-01.com.example:v
    may_tgt unbind --mode account --tid 1 --user iqn.2026-01.com.example:v
    [ -n "$STORE_KIND" ] || return 0
    may_tgt new --mode target --tid 1 --targetname iqn.2026-01.com.example:v
    may_tgt delete --mode target --tid 1
    may_tgt new --mode logicalunit --tid 1 --lun 1 --backing-store /dev/vg/v
    may_tgt update --mode logicalunit --tid 1 --lun 1 --params scsi_id=0
    may_tgt delete --mode logicalunit --tid 1 --lun 1
    folder=/etc/tgt/conf.d
    may_run grep -q "^include $folder/" /etc/tgt/targets.conf
    may_run cat $folder/one_iscsi-v.conf
    may_run install -m 600 /dev/stdin $folder/one_iscsi-v.conf.new
    may_run mv -f $folder/one_iscsi-v.conf.new $folder/one_iscsi-v.conf
    may_run rm -f -- $folder/one_iscsi-v.conf.new $folder/one_iscsi-v.conf
}

may_tgt() {
    may_run tgtadm --lld iscsi --op "$@"
}

check_lio() {
    has_tools targetctl awk
    target=/sys/kernel/config/target/iscsi/iqn.2026-01.com.example:v
    may_run mkdir "$target"
    may_run rmdir "$target"
    may_run tee "$target/tpgt_1/enable"
    may_run ln -s "$target/tpgt_1/lun/lun_0" "$target/tpgt_1/acls/iqn/lun_0/default"
    may_run rm -- "$target/tpgt_1/acls/iqn/lun_0/default"
    folder=/etc/target
    [ ! -d /etc/rtslib-fb-target ] || folder=/etc/rtslib-fb-target
    may_run blkdiscard -f -z -o 0 -l 1 /dev/sda
    may_run grep -E '^ *.(fabric|index|ip_address|port|storage_object|tag|wwn).:' $folder/saveconfig.json
    may_run targetctl save $folder/saveconfig.json.one_iscsi
    may_run mv -f $folder/saveconfig.json.one_iscsi $folder/saveconfig.json
    [ -n "$STORE_KIND" ] || return 0
    for address in $PORTALS; do
        good_if address "$address" may_listen_at "$address"
    done
}

# Where the kernel lets programs listen at other addresses, too, or nobody can tell, nothing is wrong.
may_listen_at() {
    command -v ip >/dev/null || return 0
    case $1 in *:*) family=ipv6 ;; *) family=ipv4 ;; esac
    ip -o route get "$1" | grep -q '^local ' || grep -qsx 1 /proc/sys/net/$family/ip_nonlocal_bind
}

check_lvm() {
    has_tools vgs lvs lvcreate lvextend lvremove
    may_run vgs --noheadings --nosuffix --units b --options vg_size,vg_free "$STORE"
    may_run lvs --noheadings --nosuffix --units b --options lv_size,lv_tags "$STORE"
    may_run lvcreate --yes --addtag one_iscsi --name v --size 512b "$STORE"
    may_run lvextend --size 1024b "${STORE%%/*}/v"
    may_run lvremove --yes --select 'lv_tags={one_iscsi} && lv_name=v' "${STORE%%/*}"
}

check_thin() {
    check_lvm
}

check_file() {
    may_run test -d "$STORE"
    may_run df -B1 --output=size,avail "$STORE"
    may_run install -d -m 700 "$STORE/one_iscsi"
    may_run install -m 600 /dev/null "$STORE/one_iscsi/v"
    may_run fallocate -l 512 "$STORE/one_iscsi/v"
    may_run rm -f -- "$STORE/one_iscsi/v"
}

main() {
    lock check 10
    has_tools sudo flock timeout setsid nice ionice lsblk stat blkdiscard fallocate dd sync cmp
    may_wipe
    "check_$KIND"
    [ -z "$STORE_KIND" ] || "check_$STORE_KIND"
}
