# shellcheck shell=bash
# Stand-in for OpenNebula's file of the same name, for machines without OpenNebula (lab/env points at it).
# Same functions, arguments, output and exit codes, as far as one_iscsi uses them; written from their behaviour.
# Every script goes to the host by ssh's standard input, so nothing of it shows in a list of processes.

export LANG=C
export PATH=/bin:/sbin:/usr/bin:$PATH
SSH=${SSH:-ssh}
SSH_FWD=${SSH_FWD:-ssh -o ForwardAgent=yes -o ControlMaster=no -o ControlPath=none}
SUDO=${SUDO:-sudo -n}
SCRIPT_NAME=$(basename -- "$0")

log_function() { echo "$1: $SCRIPT_NAME: $2" >&2; }
log_error() { log_function ERROR "$1"; }
log_info() { log_function INFO "$1"; }
log_debug() { log_function DEBUG "$1"; }
log() { log_info "$1"; }
error_message() { echo "$1" >&2; }

# exclusive NAME SECONDS COMMAND…: the command under a lock; gives up (254) when the lock is not to be had in time.
# As in OpenNebula the command inherits the lock: a background process it leaves behind keeps it.
exclusive() {
    LOCK_FILE=/var/lock/one/$1
    TIMEOUT=$2
    shift 2
    # OpenNebula's packages make this directory
    mkdir -p /var/lock/one 2>/dev/null
    (umask 0027; : >> "$LOCK_FILE") 2>/dev/null
    if ! { exec {FD}> "$LOCK_FILE"; } 2>/dev/null; then
        log_error "Could not create or open lock $LOCK_FILE"
        exit 254
    fi
    if ! flock -w "$TIMEOUT" "$FD" 2>/dev/null; then
        log_error "Could not acquire exclusive lock on $LOCK_FILE"
        exit 254
    fi
    "$@"
    EXEC_RC=$?
    exec {FD}>&-
    return $EXEC_RC
}

# What arrives at the host: the C locale, then the parts, one below the other.
_remote_script() { printf '%s\n' 'export LANG=C' 'export LC_ALL=C' "$@"; }

# _ssh_failed SCRIPT STDERR [MESSAGE]: one line for the VM's log, one for whoever asked
_ssh_failed() {
    log_error "Command \"$1\" failed: $2"
    error_message "${3:-Error executing $1: $2}"
}

# ssh_exec_and_log_no_error HOST SCRIPT [MESSAGE [CODE]]: stdout is dropped; failures are logged unless they are CODE
ssh_exec_and_log_no_error() {
    # shellcheck disable=SC2086  # $SSH is a command with options
    SSH_EXEC_ERR=$($SSH $1 bash -s 2>&1 >/dev/null < <(_remote_script "$2"))
    SSH_EXEC_RC=$?
    if [ $SSH_EXEC_RC -ne 0 ] && [ "$SSH_EXEC_RC" != "${4:-}" ]; then
        _ssh_failed "$2" "$SSH_EXEC_ERR" "${3:-}"
    fi
    return $SSH_EXEC_RC
}

# ssh_exec_and_log HOST SCRIPT [MESSAGE [CODE]]: the same, and a failure ends the caller with the script's code
ssh_exec_and_log() {
    ssh_exec_and_log_no_error "$@"
    EXEC_RC=$?
    [ $EXEC_RC -eq 0 ] || exit $EXEC_RC
}

# ssh_exec_and_log_stdin HOST SCRIPT FILE [MESSAGE]: FILE's text comes before the script and is never logged
ssh_exec_and_log_stdin() {
    # shellcheck disable=SC2086
    SSH_EXEC_ERR=$($SSH $1 bash -s 2>&1 >/dev/null < <(_remote_script "$(cat "$3")" '' "$2"))
    SSH_EXEC_RC=$?
    if [ $SSH_EXEC_RC -ne 0 ]; then
        _ssh_failed "$2" "$SSH_EXEC_ERR" "${4:-}"
        exit $SSH_EXEC_RC
    fi
}

# ssh_monitor_and_log HOST SCRIPT [LABEL]: prints the script's stdout, drops its stderr; on failure logs stdout
ssh_monitor_and_log() {
    # shellcheck disable=SC2086
    SSH_EXEC_OUT=$($SSH $1 bash -s 2>/dev/null < <(_remote_script "$2"))
    SSH_EXEC_RC=$?
    if [ $SSH_EXEC_RC -ne 0 ]; then
        log_error "Command \"${3:-$2}\" failed: $SSH_EXEC_OUT"
        exit $SSH_EXEC_RC
    fi
    printf '%s\n' "$SSH_EXEC_OUT"
}

# ssh_make_path HOST DIRECTORY
ssh_make_path() {
    # shellcheck disable=SC2086
    SSH_EXEC_ERR=$($SSH $1 bash -s 2>&1 >/dev/null < <(printf '%s\n' 'set -e -o pipefail' "[ -d $2 ] || mkdir -p $2"))
    SSH_EXEC_RC=$?
    if [ $SSH_EXEC_RC -ne 0 ]; then
        error_message "Error creating directory $2 at $1: $SSH_EXEC_ERR"
        exit $SSH_EXEC_RC
    fi
}

# ssh_forward COMMAND…: the command with agent forwarding, on a connection of its own
ssh_forward() {
    _ssh_saved=$SSH
    SSH=$SSH_FWD
    "$@"
    _ssh_forward_rc=$?
    SSH=$_ssh_saved
    return $_ssh_forward_rc
}
