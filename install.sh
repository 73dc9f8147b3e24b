#!/bin/bash
# install.sh               install onevolume on this OpenNebula front end (as root)
# install.sh --uninstall   take it away again; the database stays
# install.sh --demo        show the main job on real parts, in a virtual machine; needs no OpenNebula
#
# The layout is that of OpenNebula's packages, or of ONE_LOCATION if that is set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

die() { echo "install.sh: $*" >&2; exit 1; }
usage() { sed -n '2,4s/^# //p' "$0"; exit "${1:-0}"; }

if [ -n "${ONE_LOCATION:-}" ]; then
    library=$ONE_LOCATION/lib/one_iscsi command=$ONE_LOCATION/bin/onevolume wrappers=$ONE_LOCATION/lib/sh/scripts_common.sh
else
    library=/usr/lib/one/one_iscsi command=/usr/bin/onevolume wrappers=/usr/lib/one/sh/scripts_common.sh
fi

install_frontend() {
    [ "$(id -u)" = 0 ] || die "run it as root: sudo ./install.sh"
    [ -f "$wrappers" ] || die "no OpenNebula front end here ($wrappers is missing); for a self-managed one set ONE_LOCATION"
    id oneadmin >/dev/null 2>&1 || die "there is no user oneadmin"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || die "Python 3.9 or newer is needed"
    python3 -c 'import ensurepip' 2>/dev/null || die "python3-venv is needed: apt-get install python3-venv"

    # Built beside the old one and then put in its place: a failed upgrade leaves what was there.
    rm -rf "$library.new"
    mkdir -p "$library.new"
    python3 -m venv "$library.new/venv"
    "$library.new/venv/bin/pip" install -qq --disable-pip-version-check "$here"
    install -m 0644 "$here/share/one_iscsi.sudoers" "$library.new/one_iscsi.sudoers"
    rm -rf "$library"
    mv "$library.new" "$library"

    cat > "$command" <<EOF
#!/bin/sh
exec $library/venv/bin/python -m one_iscsi.cli "\$@"
EOF
    chmod 0755 "$command"
    "$command" list >/dev/null
    cat <<EOF
onevolume $("$command" --version | cut -d' ' -f2) is installed: $command

Next:
  1. On every node and storage server install the sudo rights (and open-iscsi on the nodes):
       scp $library/one_iscsi.sudoers root@NODE:/etc/sudoers.d/one_iscsi
  2. onevolume check --host NODE      says what a node still lacks
  3. onevolume san create NAME --kind tgt --host SERVER --portal IP:3260
     onevolume register IQN --san NAME
     onevolume attach VM 10G
EOF
}

uninstall() {
    [ "$(id -u)" = 0 ] || die "run it as root: sudo ./install.sh --uninstall"
    rm -rf "$library" "$library.new" "$command"
    echo "onevolume is uninstalled; its database and the sudoers files on the nodes stay"
}

case ${1:-} in
    '') install_frontend ;;
    --uninstall) uninstall ;;
    --demo) exec "$here/lab/demo" ;;
    -h | --help) usage ;;
    *) usage 2 ;;
esac
