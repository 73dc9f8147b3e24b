# shellcheck shell=sh
# shellcheck disable=SC2154  # $out and $size are set by common.sh, $offset and its like by whoever started the job
# Zeros over a whole block device or file, as a job that outlives whoever started it.
#
# Values: JOB (a name no other wipe ever had), WIPE_SCRIPT (common.sh and this file, for the job itself), FROM (the byte
# to begin at), RATE (bytes a second, whole MiB; 0: as fast as it can), SHARED (not empty: a target in the kernel has the
# device for itself, so nobody can have mounted it).
# Call both functions under the volume's lock. The state is in $own_dir/wipe/JOB, rewritten after every chunk: a job
# that was killed goes on there when it is started again. Its lock is held as long as the job lives.

# Bytes that are written at once, and have to be within 99 s: 128 MiB, on a fast device up to 2 GiB.
CHUNK=134217728
LARGEST=2147483648

# wipe_start DEVICE: start the job or resume it; nothing if it runs. Whoever calls sees to it that nobody else writes.
wipe_start() {
    DEVICE=$1
    wipe_job_files
    exec 8>"$wipe_file.lock"
    # One that was removed in between, as a very old one, locks nothing: absent, to be started again.
    { flock -n 8 && [ -e "$wipe_file.lock" ]; } || return 0
    forget_old_wipes
    size_of "$DEVICE" || fail no-device "$DEVICE on $(uname -n) has no size: $out"
    offset=$FROM
    case $(wipe_said STATE):$(wipe_said SIZE):$(wipe_said DEVICE) in
        "running:$size:$DEVICE" | "failed:$size:$DEVICE") offset=$(wipe_said OFFSET) ;;
    esac
    wipe_save running ""
    export DEVICE SHARED FROM RATE wipe_file size offset
    printf '%s\nwipe_job\n' "$WIPE_SCRIPT" |
        nice -n 10 ionice -c 2 -n 7 setsid bash -s >/dev/null 2>&1 9>&- &
    exec 8>&-
}

# wipe_status: STATE (running, done, failed; absent: no such job runs, start it), OFFSET, SIZE, TEXT
wipe_status() {
    wipe_job_files
    alive=yes
    exec 8>"$wipe_file.lock"
    flock -n 8 && alive=no
    exec 8>&-
    [ -f "$wipe_file" ] && cat "$wipe_file"
    case $alive:$(wipe_said STATE) in no: | no:running) say STATE absent ;; esac
}

wipe_job_files() {
    own_dir
    wipe_file=$own_dir/wipe/$JOB
    [ -d "$own_dir/wipe" ] || mkdir "$own_dir/wipe"
}

# forget_old_wipes: the files of jobs nobody has looked at for a month; never of one that lives, for that has its lock.
forget_old_wipes() {
    find "$own_dir/wipe" -name '*.lock' -mtime +30 | while read -r old; do
        flock -n "$old" rm -f -- "${old%.lock}" "${old%.lock}.new" "$old"
    done
}

# wipe_said NAME: what the state file tells
wipe_said() {
    sed -n "s/^$1=//p" "$wipe_file" 2>/dev/null
}

wipe_save() {
    {
        say STATE "$1" && say OFFSET "$offset" && say SIZE "$size" && say DEVICE "$DEVICE" && say TEXT "$2"
    } >"$wipe_file.new" && mv "$wipe_file.new" "$wipe_file"
}

wipe_job() {
    fail() {
        wipe_save failed "$2"
        exit 1
    }
    # blkdiscard refuses a mounted device, older ones and dd do not.
    if [ -b "$DEVICE" ] && [ -n "$(lsblk -nro MOUNTPOINT "$DEVICE")" ]; then
        fail busy "$DEVICE on $(uname -n) is busy: it is mounted"
    fi
    [ "$RATE" -eq 0 ] || [ "$RATE" -gt "$CHUNK" ] || CHUNK=$RATE # a second's portion
    chunk=$CHUNK
    clock
    due=$now
    while [ "$offset" -lt "$size" ]; do
        length=$((size - offset))
        [ "$length" -le "$chunk" ] || length=$chunk
        zero
        offset=$((offset + length))
        if [ "$RATE" -eq 0 ]; then adapt; else pace; fi
        wipe_save running ""
    done
    check
    wipe_save "done" ""
}

# Where a chunk takes less than half a second, starting the tools for it would count.
adapt() {
    before=$now
    clock
    if [ $((now - before)) -lt 50 ] && [ "$chunk" -lt "$LARGEST" ]; then
        chunk=$((chunk * 2))
    elif [ $((now - before)) -gt 1000 ]; then
        chunk=$CHUNK
    fi
}

# Wait until as much as this chunk may have been written. The time a slow device lost is not made up for.
pace() {
    due=$((due + (length * 100 + RATE - 1) / RATE))
    clock
    early=$((due - now))
    if [ "$early" -gt 0 ]; then
        sleep "$((early / 100)).$((early / 10 % 10))$((early % 10))"
    else
        due=$now
    fi
}

# Zero a chunk so that no power cut can bring it back, by the fastest means that promises zeros (discarding does not). For
# a block device that is BLKZEROOUT, which refuses one that is mounted; for a file ranges that the file system reads as
# zeros. dd does what neither can, past the page cache, which would cost half the speed, if the device lets it.
zero() {
    if [ -z "${by_dd:-}" ]; then
        set -- fallocate -z -n
        [ ! -b "$DEVICE" ] || set -- blkdiscard ${SHARED:+-f} -z
        if root 99 "$@" -o "$offset" -l "$length" "$DEVICE"; then
            root 99 sync "$DEVICE" || fail io "$out"
            return
        fi
        case $out in *"resource busy"*) fail busy "$out" ;; esac
        by_dd=yes
    fi
    write_zeros direct && return
    case $out in *"Invalid argument"*) write_zeros nocache && return ;; esac
    fail io "$out"
}

write_zeros() {
    root 99 dd if=/dev/zero of="$DEVICE" bs=4M iflag=count_bytes oflag=seek_bytes,"$1" \
        conv=notrunc,nocreat,fdatasync count="$length" seek="$offset" status=none
}

# Read back what was wiped: a small volume as a whole, of others the first and the last MiB and 16 between; from the
# medium: the page cache is told to forget the device.
check() {
    root 99 dd if="$DEVICE" iflag=nocache count=0 status=none || fail io "$out"
    sample=1048576
    [ "$size" -gt $((64 * sample)) ] || sample=$size
    step=$((size / 16 / sample * sample + sample))
    at=$FROM
    while [ "$at" -lt "$size" ]; do
        check_zero "$at"
        at=$((at + step))
    done
    [ $((size - FROM)) -le "$sample" ] || check_zero $((size - sample))
}

check_zero() {
    rest=$((size - $1))
    [ "$rest" -le "$sample" ] || rest=$sample
    root 99 cmp -n "$rest" -i "$1:0" "$DEVICE" /dev/zero || fail not-zero "read back at byte $1: $out"
}
