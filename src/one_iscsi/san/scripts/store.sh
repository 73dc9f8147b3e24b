# shellcheck shell=sh
# shellcheck disable=SC2154  # $out is set by root in common.sh, $STORE_KIND and its like by the caller
# Backing stores: logical volumes (thick or thin) and files, where a storage server makes its volumes.
#
# Values: STORE_KIND (lvm, thin, file; empty: nowhere), STORE (VG, VG/POOL or an absolute folder), IQN.
# A store is called what the IQN says after its last colon. Ours is a logical volume with the tag one_iscsi, or a file
# in the subfolder one_iscsi, which nobody else writes to. Thin volumes and files read as zeros at first, thick ones
# hold what was there before.

# store_init: sets $store, where the store is or will be. Nothing on the server is asked yet.
store_init() {
    name=${IQN##*:}
    case $STORE_KIND in
        lvm | thin) store=/dev/${STORE%%/*}/$name ;;
        file) store=$STORE/one_iscsi/$name ;;
        *) fail no-location "no volumes are made on it" ;;
    esac
}

# store_at PATH: the place where this store of ours is; ends the script if it is none.
store_at() {
    name=${IQN##*:}
    case $1 in
        /dev/*/"$name") STORE_KIND=lvm STORE=${1#/dev/} && STORE=${STORE%/*} ;;
        /*/one_iscsi/"$name") STORE_KIND=file STORE=${1%/one_iscsi/*} ;;
        *) foreign "$1" ;;
    esac
}

foreign() {
    fail foreign "$1 on $(uname -n) was not made by one_iscsi"
}

# store_find: $store_size is what the store has, in bytes, empty if there is none; `foreign` if it is not ours.
store_find() {
    store_init
    "find_$STORE_KIND"
}

# store_make SIZE: a new store, or one that was begun; store_find was called before. An LV gets whole extents.
store_make() {
    if [ "$STORE_KIND" = file ]; then make_file "$1"; elif [ -z "$store_size" ]; then "make_$STORE_KIND" "$1"; fi
}

# store_grow SIZE: never smaller.
store_grow() {
    [ "$store_size" -lt "$1" ] || return 0
    case $STORE_KIND in
        file) make_file "$1" ;;
        *) lvm lvextend --size "$(blocks "$1")b" "${STORE%%/*}/$name" ;;
    esac
}

# store_remove: what is gone already is fine. The daemon that had it open may need a moment to let it go.
store_remove() {
    case $STORE_KIND in
        file) root 30 rm -f -- "$store" || fail store "$out" ;;
        *) wait_until 10 lv_removed || fail store "${out##*"
"}" ;;
    esac
}

# --- logical volumes ----------------------------------------------------------------------------------------------

# lvm COMMAND ARGUMENT…: whatever it does not do ends the script.
lvm() {
    root 60 "$@" && return
    case $out in
        *"nsufficient "* | *"above threshold"* | *"free space"*) fail no-space "$STORE on $(uname -n) is full: $out" ;;
        *"not found"* | *"Failed to find"*) fail no-location "there is no $STORE on $(uname -n): $out" ;;
        *) fail store "$1: $out" ;;
    esac
}

# LVM takes whole sectors only.
blocks() {
    echo $((($1 + 511) / 512 * 512))
}

find_lvm() {
    lvm lvs --noheadings --nosuffix --units b --options lv_size,lv_tags --select "lv_name=$name" "${STORE%%/*}"
    found=$(printf '%s\n' "$out" | sed -n 's/^ *\([0-9][0-9]*\)\( .*\)*$/\1,\2/p' | tr -d ' ')
    store_size=${found%%,*}
    [ -n "$found" ] || return 0
    case ,${found#*,}, in *,one_iscsi,*) ;; *) foreign "$store" ;; esac
}

find_thin() {
    find_lvm
}

make_lvm() {
    lvm lvcreate --yes --addtag one_iscsi --name "$name" --size "$(blocks "$1")b" "$STORE"
}

make_thin() {
    lvm lvcreate --yes --addtag one_iscsi --name "$name" --virtualsize "$(blocks "$1")b" --thinpool "$STORE"
}

# The selection keeps it from ever removing what has not our tag. Nothing selected: nothing to do.
lv_removed() {
    root 60 lvremove --yes --select "lv_tags={one_iscsi} && lv_name=$name" "${STORE%%/*}"
}

# --- files --------------------------------------------------------------------------------------------------------

find_file() {
    store_size=
    if size_of "$store"; then
        store_size=$size
    else
        case $out in *"No such file"*) ;; *) fail store "$out" ;; esac
    fi
}

# Allocated at once: an initiator must not learn that the disk is full.
make_file() {
    if [ -z "$store_size" ]; then
        folder
        root 10 install -m 600 /dev/null "$store" || fail store "$out"
    fi
    root 60 fallocate -l "$1" "$store" && return
    case $out in
        *"No space"* | *"too large"*) fail no-space "$STORE on $(uname -n) is full: $out" ;;
        *) fail store "$out" ;;
    esac
}

# One that is missing is perhaps not mounted: it is not made.
folder() {
    root 10 test -d "$STORE" || fail no-location "there is no folder $STORE on $(uname -n)"
    root 10 install -d -m 700 "$STORE/one_iscsi" || fail store "$out"
}

# --- room ---------------------------------------------------------------------------------------------------------

# store_room: TOTAL and FREE of the place, in bytes.
store_room() {
    store_init
    "room_of_$STORE_KIND"
}

room_of_lvm() {
    lvm vgs --noheadings --nosuffix --units b --options vg_size,vg_free "$STORE"
    room=$(printf '%s\n' "$out" | sed -n 's/^ *\([0-9][0-9]*\)  *\([0-9][0-9]*\) *$/\1 \2/p')
    say TOTAL "${room% *}"
    say FREE "${room#* }"
}

room_of_thin() {
    lvm lvs --noheadings --nosuffix --units b --options lv_size,data_percent,zero "$STORE"
    room=$(printf '%s\n' "$out" | awk '/^ *[0-9]+ / { printf "%.0f %.0f %s\n", $1, $1 * (1 - $2 / 100), $3 }')
    case $room in
        *" zero") ;;
        *" "*" "*) fail no-location "$STORE on $(uname -n) does not zero new blocks: lvchange --zero y $STORE" ;;
        *) fail no-location "$STORE on $(uname -n) is no thin pool" ;;
    esac
    room=${room% *}
    say TOTAL "${room% *}"
    say FREE "${room#* }"
}

room_of_file() {
    folder
    root 10 df -B1 --output=size,avail "$STORE/one_iscsi" || fail no-location "$out"
    room=$(printf '%s\n' "$out" | sed -n 's/^ *\([0-9][0-9]*\)  *\([0-9][0-9]*\)$/\1 \2/p')
    say TOTAL "${room% *}"
    say FREE "${room#* }"
}
