# shellcheck shell=bash
# A node's hypervisor, as in xen.sh: libvirt with guests that QEMU emulates.

export LIBVIRT_DEFAULT_URI=qemu:///system

console_of() { echo "/var/log/libvirt/guest-$1.log"; }

hypervisor_start() {
    libvirtd -d
    until_ok 100 virsh list
}

guest_start() {
    cat > "/lab/$1.xml" <<X
<domain type='qemu'><name>$1</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>/lab/vmlinux</kernel><initrd>/lab/dom.img</initrd>
<cmdline>console=ttyS0 quiet panic=-1 mitigations=off nokaslr norandmaps guest=$1</cmdline></os>
<features><acpi/></features><cpu mode='custom'><model>Nehalem</model></cpu>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' model='none'/><memballoon model='none'/>
<serial type='file'><source path='$(console_of "$1")'/></serial></devices></domain>
X
    timeout 120 virsh --quiet create "/lab/$1.xml"
}

guests() { virsh --quiet list | awk '{ print $2, $3 }'; }
guest_stop() { timeout 60 virsh --quiet destroy "$1"; }
guest_pause() { timeout 60 virsh --quiet suspend "$1"; }
guest_unpause() { timeout 60 virsh --quiet resume "$1"; }
guest_type() { echo "nothing can be typed into a guest's console on KVM" >&2; return 1; } # it is a file
guest_disks() { virsh --quiet domblklist "$1" | awk '{ print $1 }'; }
guest_unplug() { virsh --quiet detach-disk "$1" "$2"; }
