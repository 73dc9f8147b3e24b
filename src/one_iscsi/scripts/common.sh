# shellcheck shell=sh
# Words of every script that runs on a host or a storage server. Plain POSIX sh.
#
# A script defines `main` and gets its values as shell variables. It answers with lines NAME=value on stdout; the last
# one is END=ok (printed when main returns 0) or ERROR=<code> <text> (printed by `fail`). Its stderr is thrown away.

export LC_ALL=C
# Tools that need no root, such as blockdev, are not on the PATH of a login without a shell.
PATH=$PATH:/usr/sbin:/sbin

# say NAME VALUE: one line of the answer.
say() {
    case $2 in
        *"
"*) printf '%s=%s\n' "$1" "$(printf %s "$2" | tr '\n' ' ')" ;;
        *) printf '%s=%s\n' "$1" "$2" ;;
    esac
}

# fail CODE TEXT: end the script with an error, after the function $on_failure (if set) took back what was done.
# Not inside $( ): there it would end only the subshell.
fail() {
    [ -z "${failure:-}" ] || set -- unknown "${failure#* }, and that could not be taken back: $2"
    if [ -z "${failure:-}" ] && [ -n "${on_failure:-}" ]; then
        failure="$1 $2"
        "$on_failure"
        set -- "${failure%% *}" "${failure#* }"
    fi
    say ERROR "$1 $2"
    exit 0
}

# root LIMIT COMMAND…: run as root for at most LIMIT seconds.
# It reads $feed, if that is set, as its standard input (a secret must not become an argument, nor a here-document:
# older shells keep those in files). What it printed, both streams, is in $out; its exit code is the exit code (124:
# stopped at the limit).
# oneadmin cannot stop root's processes, so sudo limits each one: with HUP, which our scripts ignore, TERM, and KILL 2 s
# later. Not inside $( ), see `fail`.
root() {
    root_limit=$1
    shift
    if [ -n "${feed:-}" ]; then
        out=$(printf %s "$feed" | sudo -n -T "$root_limit" "$@" 2>&1)
    else
        out=$(sudo -n -T "$root_limit" "$@" 2>&1 </dev/null)
    fi
    root_code=$?
    case $out in # a warning about a machine that is not in its own /etc/hosts
        "sudo: unable to resolve host "*"
"*) out=${out#*"
"} ;;
        "sudo: unable to resolve host "*) out='' ;;
    esac
    case $out in # sudo goes on with the rules it understood, and says so before the command's own words
        *sudoers*": syntax error"*) fail sudo "sudo on $(uname -n) complains: $out" ;;
    esac
    case $root_code:$out in
        129:* | 137:* | 143:*) root_code=124 out="$1 did not end within $root_limit s" ;;
        127:* | 1:*"sudo: $1: command not found"* | 1:*"sudo: invalid option"*) root_lacks "$1" ;;
        1:*"sudo: a password is required"* | 1:*"sudo: sorry, you "*)
            command -v "$1" >/dev/null || root_lacks "$1"
            fail sudo "$(id -un) may not run $1 as root on $(uname -n): install the sudoers file" ;;
    esac
    return "$root_code"
}

root_lacks() {
    fail missing-tool "$1 or sudo (1.8.20 or newer) is not installed on $(uname -n)"
}

# own_dir: $own_dir is our private directory on this machine, for locks and the state of jobs.
own_dir() {
    own_dir=/var/tmp/one_iscsi
    [ -d "$own_dir" ] || mkdir -m 0700 "$own_dir"
    # -O: ours
    { [ -d "$own_dir" ] && [ ! -L "$own_dir" ] && [ -O "$own_dir" ]; } ||
        fail lock "$own_dir on $(uname -n) is not a private directory of $(id -un): remove it"
}

# lock NAME SECONDS: wait for the lock of a volume; it is held until this script and every command it started end.
lock() {
    own_dir
    exec 9>"$own_dir/$1.lock" || fail lock "$own_dir on $(uname -n) cannot be written"
    flock -w "$2" 9 || fail busy "another step for $1 has been running for $2 s"
}

# size_of PATH: $size is the number of bytes of a block device or a file; 1 if there is none.
# shellcheck disable=SC2034  # read by the caller
size_of() {
    if [ -b "$1" ]; then
        size=$(lsblk -bdno SIZE "$1")
    else
        root 10 stat -Lc %s "$1" && size=$out
    fi
}

# $now is the time since boot in hundredths of a second.
clock() {
    read -r now _ </proc/uptime
    now=${now%.*}${now#*.}
}

# wait_until SECONDS COMMAND…: poll until the command succeeds; 1 if it never does.
wait_until() {
    read -r wait_now _ </proc/uptime
    wait_end=$((${wait_now%.*} + $1))
    shift
    until "$@"; do
        read -r wait_now _ </proc/uptime
        [ "${wait_now%.*}" -lt "$wait_end" ] || return 1
        sleep 0.1
    done
}
