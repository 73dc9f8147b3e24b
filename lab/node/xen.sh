# shellcheck shell=bash
# A node's hypervisor, for lab-init, guest and tests: Xen with PV guests. kvm.sh has the same words.

console_of() { echo "/var/log/xen/guest-$1.log"; }

hypervisor_start() {
    mkdir -p /run/xen /run/xenstored /var/lib/xenstored /var/lib/xen
    mount -t xenfs xenfs /proc/xen
    modprobe -a xen_evtchn xen_gntdev xen_gntalloc xen_privcmd xen_blkback
    mount -t tmpfs xs /var/lib/xenstored
    /usr/sbin/xenstored --pid-file /run/xen/xenstored.pid < /dev/null > /dev/null 2>&1
    until_ok 50 xenstore-read -s /
    /usr/lib/xen-4.17/bin/xen-init-dom0 > /dev/null 2>&1
    /usr/sbin/xenconsoled --log=all --log-dir=/var/log/xen --timestamp=none --pid-file=/run/xen/xenconsoled.pid
}

guest_start() {
    cat > "/lab/$1.cfg" <<C
name = "$1"
type = "pv"
kernel = "/lab/vmlinux"
ramdisk = "/lab/dom.img"
extra = "console=hvc0 quiet panic=-1 norandmaps guest=$1"
memory = 96
vcpus = 1
on_crash = "destroy"
C
    rm -f "/lab/$1.tty"
    timeout 60 xl create -q "/lab/$1.cfg"
}

guests() { xl list | awk '{ print $1, $5 ~ /p/ ? "paused" : "running" }'; }
guest_stop() { timeout 60 xl destroy "$1"; }
guest_pause() { timeout 60 xl pause "$1"; }
guest_unpause() { timeout 60 xl unpause "$1"; }
guest_type() { # into xenconsoled's terminal
    [ -s "/lab/$1.tty" ] || xenstore-read "/local/domain/$(xl domid "$1")/console/tty" > "/lab/$1.tty"
    echo "$2" > "$(< "/lab/$1.tty")"
}
guest_disks() { # xl takes ten times as long to say that nobody has one
    xenstore-list /local/domain/0/backend/vbd >/dev/null 2>&1 || return 0
    xl block-list "$1" | sed -n 's/^\([0-9]*\) .*/\1/p'
}
guest_unplug() { xl block-detach "$1" "$2"; }
