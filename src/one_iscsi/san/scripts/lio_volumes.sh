# shellcheck shell=sh
# shellcheck disable=SC2154  # $out, $tid and their like are set by the other scripts, $IQN and its like by the caller
# shellcheck disable=SC2034  # $on_failure is read by fail
# Making, removing and growing volumes on LIO: backing store, storage object, target, disk. The backing store comes
# first and goes last: it tells that we made the rest.
#
# Values: those of store.sh, LUN; for create and grow also SIZE (bytes) and SERIAL, for create PORTALS.

create() {
    recall
    changing 180
    all_there
    remaking
    [ -n "$(field DISK 1)" ] || on_failure=unmake
    store_make "$SIZE"
    directory "$FABRIC/$IQN"
    group=$FABRIC/$IQN/tpgt_1
    directory "$group"
    no_strangers
    [ -n "$(field DISK 1)" ] || new_disk
    for portal in $PORTALS; do directory "$group/np/$portal"; done
    ensure 1 "$group/enable"
    save
    observe
    on_failure=
}

remove() {
    recall
    nobody_in in-use
    changing 180
    all_there
    remaking
    if [ -n "$tid" ]; then
        no_strangers
        for initiator in $accesses; do lock_out "$initiator"; done
    fi
    unmake
}

# The kernel asks a block device for its size all the time; a file has the size it was given when it was opened.
grow() {
    recall
    has_target
    changing 180
    if [ "$STORE_KIND" = file ]; then
        nobody_in cannot-grow ", and LIO fixes the size of a file in use"
        [ -z "$accesses" ] || fail cannot-grow "$IQN is open to ${accesses# }, and LIO fixes the size of a file"
        all_there
    fi
    store_grow "$SIZE"
    group=$FABRIC/$IQN/tpgt_1
    if [ "$STORE_KIND" = file ]; then
        remaking
        new_disk
        save
    fi
    observe
}

# confirm: target and backing store are ours.
confirm() {
    recall
    has_target
}

# capacity: TOTAL and FREE. What would keep a volume from being made, or from coming back, is an error.
capacity() {
    show
    command -v targetctl >/dev/null || fail missing-tool "targetctl (of python-rtslib) is not installed on $(uname -n)"
    own_dir
    read_saved
    if lacking; then # or somebody has just removed it
        changing 180
        read_saved
    fi
    all_there
    store_room
}

# What is there: $tid and $store_size. A target is ours if its backing store is.
recall() {
    look
    [ -z "$(field DISK 1)" ] || store_at "$(field DISK 5)"
    store_find
    [ -z "$tid" ] || [ -n "$store_size" ] || foreign "$IQN"
}

# new_disk: a storage object of the backing store as it is now, in place of any it had, at our LUN.
new_disk() {
    unlink "$group/lun/lun_$LUN"
    no_object
    plugin=iblock
    [ "$STORE_KIND" != file ] || plugin=fileio
    number=0
    while [ -d "$CONFIGFS/core/${plugin}_$number" ]; do number=$((number + 1)); done
    config mkdir "$CONFIGFS/core/${plugin}_$number"
    object=$CONFIGFS/core/${plugin}_$number/$name
    config mkdir "$object"
    "use_$plugin"
    put "$store" "$object/udev_path"
    put 1 "$object/enable"
    put "$SERIAL" "$object/wwn/vpd_unit_serial"
    link "$object" "$group/lun/lun_$LUN"
}

use_iblock() {
    put "udev_path=$store" "$object/control"
}

# The page cache of this server, as targetcli does it; initiators are told to flush.
use_fileio() {
    store_find
    put "fd_dev_name=$store,fd_dev_size=$store_size" "$object/control"
    put 1 "$object/attrib/emulate_write_cache"
    put fd_buffered_io=1 "$object/control"
}

# no_object: nor the folder that object was in. One without an object is nobody's: whoever made it was killed.
no_object() {
    for object in "$CONFIGFS/core"/*/"$name"; do
        [ ! -d "$object" ] || config rmdir "$object"
    done
    for folder in "$CONFIGFS/core"/iblock_* "$CONFIGFS/core"/fileio_*; do
        set -- "$folder"/*/
        [ ! -d "$folder" ] || [ -d "$1" ] || config rmdir "$folder"
    done
}

unmake() {
    group=$FABRIC/$IQN/tpgt_1
    if [ -d "$group" ]; then
        ensure 0 "$group/enable"
        for acl in "$group"/acls/*/; do
            acl=${acl%/}
            [ ! -d "$acl" ] || lock_out "${acl##*/}"
        done
        for lun in "$group"/lun/lun_*; do unlink "$lun"; done
        for portal in "$group"/np/*; do [ ! -d "$portal" ] || config rmdir "$portal"; done
        config rmdir "$group"
    fi
    [ ! -d "$FABRIC/$IQN" ] || config rmdir "$FABRIC/$IQN"
    no_object
    save # before the store: a target that came back without one would not be known to be ours
    store_find
    [ -z "$store_size" ] || store_remove
}
