# shellcheck shell=sh disable=SC2034,SC2154  # the parts of a script share their variables
# Words of the scripts that look at a machine and change nothing. They say GOOD or BAD with the kind of a thing and the
# thing; findings.py knows what they mean.

# good_if KIND THING COMMAND…: good if the command succeeds; `fail` in it means bad, and the next thing is looked at
good_if() {
    thing=$1${2:+ $2}
    shift 2
    # shellcheck disable=SC2317 # called by `root`: what it finds must not end the check
    if (fail() { exit 1; } && "$@") >/dev/null 2>&1; then say GOOD "$thing"; else say BAD "$thing"; fi
}

# has_tools NAME…
has_tools() {
    for tool in "$@"; do
        good_if tool "$tool" command -v "$tool"
    done
}

# version NAME COMMAND…: the first number with a dot in what the command prints
version() {
    tool=$1
    shift
    text=$(timeout -k 5 10 "$@" 2>/dev/null | grep -o '[0-9][0-9]*[.][0-9][0-9A-Za-z.-]*' | head -n 1)
    [ -z "$text" ] || say VERSION "$tool $text"
}

# may_run COMMAND…: would sudo let us, as `root` does it?
may_run() {
    good_if sudo "$*" sudo -n -l "$@"
}

# may_wipe: the same for all that a wipe needs
may_wipe() {
    may_run stat -Lc %s /dev/sda
    may_run blkdiscard -z -o 0 -l 1 /dev/sda
    may_run fallocate -z -n -o 0 -l 1 /srv/v
    for how in direct nocache; do
        may_run dd if=/dev/zero of=/dev/sda bs=4M iflag=count_bytes oflag=seek_bytes,$how \
            conv=notrunc,nocreat,fdatasync count=1 seek=0 status=none
    done
    may_run dd if=/dev/sda iflag=nocache count=0 status=none
    may_run sync /dev/sda
    may_run cmp -n 1 -i 0:0 /dev/sda /dev/zero
}

# Sets $setting to what multipathd does with a disk that has one path only; 1 if it does not run. It tells anybody,
# whereas only root may read its file on Red Hat.
multipath_setting() {
    setting=$(timeout -k 5 10 multipathd show config 2>/dev/null | find_multipaths)
    [ -z "$setting" ] || return 0
    grep -qsx multipathd /proc/[0-9]*/comm || return 1
    setting=$(find_multipaths 2>/dev/null </etc/multipath.conf)
}

find_multipaths() {
    sed -n 's/^[[:space:]]*find_multipaths[[:space:]]*"*\([a-z]*\).*/\1/p' | head -n 1
}

# Sets $name to the initiator's name in this text; 1 if it is none of its own. Debian writes GenerateName=yes until
# iscsid has been started once.
own_initiator_name() {
    name=$(printf '%s\n' "$1" | sed -n 's/^[[:space:]]*InitiatorName[[:space:]]*=[[:space:]]*\([a-z][^[:space:]]*\).*/\1/p')
    case $name in '' | *.example*) return 1 ;; esac
}

multipathd_answers() {
    timeout -k 5 10 multipathd show daemon 2>/dev/null | grep -q '^pid'
}

iscsid_answers() {
    grep -q ISCSIADM_ABSTRACT_NAMESPACE /proc/net/unix
}
