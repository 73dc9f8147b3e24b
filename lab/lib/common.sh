# shellcheck shell=bash
# What the lab's commands share. Sourced, never run.
set -euo pipefail

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${ONE_ISCSI_LAB:-${XDG_CACHE_HOME:-$HOME/.cache}/one_iscsi/lab}
# shellcheck disable=SC2034  # for the commands
default_node=${ONE_ISCSI_LAB_NODE:-node1}
mkdir -p "$cache"

die() { echo "${0##*/}: $*" >&2; exit 1; }
say() { printf '[%3d s] %s\n' "$SECONDS" "$*" >&2; }

# $SSH is split at blanks by those who use it, and QEMU splits its list of boot modules at commas.
case $cache in *[[:space:],]*) die "the cache directory must have no blank or comma in its name: $cache";; esac

# install_packages PACKAGE…: those that are missing; no service starts by itself. Two of the lab's commands may do so at
# once; apt-get may not.
install_packages() {
    local missing=() package
    for package; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
            installed) ;;
            *) missing+=("$package");;
        esac
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "missing packages (run once as root): ${missing[*]}"
    say "installing ${missing[*]} ..."
    (
        flock -w 900 7 || die "another apt-get of the lab does not end"
        policy=/usr/sbin/policy-rc.d
        [ -e $policy ] || { trap "rm $policy" EXIT; install -m 755 <(printf '#!/bin/sh\nexit 101\n') $policy; }
        {
            apt-get -q update &&
                DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${missing[@]}"
        } > "$cache/apt.log" 2>&1 7>&- || { tail -n 20 "$cache/apt.log" >&2; die "apt-get failed"; }
    ) 7> "$cache/lock-apt"
}

use_node() { # use_node NAME: sets node and run
    case $1 in
        *[!a-z0-9-]* | [!a-z]* | '') die "not a node's name: '$1' (small letters, digits, '-')";;
    esac
    node=$1
    run=$cache/run-$node
}

# One up, down or reboot of a node at a time. The lock ends with this process: what it starts must close 8.
lock_node() {
    exec 8> "$cache/lock-$node"
    flock -w 300 8 || die "another command on $node does not end"
}

# Sets kind, xen or kvm: what the node in the run directory is.
find_kind() {
    kind=$(readlink "$run/image")
    kind=${kind##*-}
}

is_running() {
    local pid
    pid=$(cat "$run/qemu.pid" 2>/dev/null) || return 1
    grep -qaF "one_iscsi-lab-$node" "/proc/$pid/cmdline" 2>/dev/null
}

need_running() { is_running || die "node $node is not up (lab/up $node)"; }

node_ssh() { # node_ssh USER COMMAND…
    local user=$1
    shift
    ssh -F "$run/ssh_config" -l "$user" "$node" "$@"
}

# lab_tool TOOL WORDS…: runs one of lab/node's tools on the node, as root, with the words kept whole
lab_tool() {
    local tool=$1
    shift
    need_running
    node_ssh root "$(printf '%q ' "/lab/seed/$tool" "$@")"
}

# Pull the plug. Nothing is flushed: what the node had not written yet is lost, as with a real one.
power_off() {
    local pid i
    for user in oneadmin root; do
        ssh -F "$run/ssh_config" -l $user -O exit "$node" >/dev/null 2>&1 || :
    done
    is_running || return 0
    pid=$(cat "$run/qemu.pid")
    kill -9 "$pid"
    for ((i = 0; i < 100; i++)); do
        [ -e "/proc/$pid" ] || break
        # a zombie (its parent did not collect it) holds nothing any more
        grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null && break
        sleep 0.05
    done
    rm -f "$run/qemu.pid"
}

# Files that go into the node at every boot, so that changing one of them needs no new image.
make_seed() {
    local seed=$run/seed
    rm -rf "$seed"
    mkdir -p "$seed/seed"
    install -m 755 "$lab"/node/* "$seed/seed/"
    ln -s "$kind.sh" "$seed/seed/hypervisor.sh"
    echo "$node" > "$seed/seed/hostname"
    [ ! -e "$lab/../share/one_iscsi.sudoers" ] ||
        install -m 440 "$lab/../share/one_iscsi.sudoers" "$seed/seed/sudoers"
    # the kernel unpacks one archive after another
    { cat "$run/image/initrd.img"; (cd "$seed" && find . | cpio -o -H newc --quiet -R 0:0); } > "$run/initrd.img"
    rm -rf "$seed"
}

free_port() { # a port nobody answers on, the same one again for a name as long as it is free
    local port i
    port=$((20000 + $(printf %s "$node" | cksum | cut -d' ' -f1) % 10000))
    for ((i = 0; i < 200; i++, port++)); do
        (: < "/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
    die "no free port found"
}

write_ssh_config() { # write_ssh_config PORT
    {
        printf '%s\n' "Host $node" '  HostName 127.0.0.1' "  Port $1" '  User oneadmin' "  IdentityFile $run/image/key" \
            '  IdentitiesOnly yes' '  BatchMode yes' '  StrictHostKeyChecking no' '  UserKnownHostsFile /dev/null' \
            '  LogLevel ERROR' '  ConnectTimeout 20'
        # a socket's path has room for 108 characters, and ssh adds some
        if [ ${#run} -lt 75 ]; then
            printf '%s\n' '  ControlMaster auto' "  ControlPath $run/%r" '  ControlPersist 70'
        fi
    } > "$run/ssh_config"
}

# Boots the node on the disk in the run directory and waits until it is ready.
# `-cpu Nehalem-v1 -M pc -smp 1` is the combination on which Xen's dom0 runs reliably in software emulation. A guest on KVM
# needs a processor for itself. QEMU translates code again for every new address: without norandmaps each process is a
# new one to it, and starting one takes twice as long on Xen, five times without.
boot() {
    local port i xen linux boot processors
    find_kind
    port=$(free_port)
    write_ssh_config "$port"
    make_seed
    rm -f "$run/console.log"
    xen="console=com1 com1=115200,8n1 dom0_mem=768M,max:768M dom0_max_vcpus=1 noreboot loglvl=warning guest_loglvl=warning"
    xen="$xen spec-ctrl=no xpti=off pv-l1tf=off ucode=no"
    linux="quiet panic=-1 mitigations=off net.ifnames=0 random.trust_cpu=on norandmaps"
    case $kind in
        xen) processors=1 boot=(-kernel image/xen -append "$xen" -initrd "image/vmlinux console=hvc0 $linux,initrd.img");;
        kvm) processors=2 boot=(-kernel image/vmlinux -append "console=ttyS0 nokaslr $linux" -initrd initrd.img);;
    esac
    say "booting $node ..."
    (
        cd "$run"
        exec 8>&-
        qemu-system-x86_64 -name "one_iscsi-lab-$node" -M pc -accel tcg -cpu Nehalem-v1 -smp $processors -m 1536 \
            -nodefaults -no-user-config -display none -no-reboot -serial file:console.log -pidfile qemu.pid -daemonize \
            "${boot[@]}" \
            -drive id=d0,file=disk.qcow2,format=qcow2,if=none -device virtio-blk-pci,drive=d0 \
            -netdev "user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:$port-:22" -device virtio-net-pci,netdev=n0,romfile= \
            -device virtio-rng-pci
    ) || die "QEMU does not start"
    for ((i = 0; i < 600; i++)); do
        if grep -q '^lab-init.*: ready' "$run/console.log" 2>/dev/null; then
            node_ssh root true || die "$node is up but does not answer by ssh"
            say "$node is ready"
            return
        fi
        is_running || break
        sleep 0.2
    done
    tail -n 20 "$run/console.log" >&2 || :
    die "$node did not come up; its console is $run/console.log"
}
