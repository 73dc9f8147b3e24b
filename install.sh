#!/bin/bash
# install.sh                       install onevolume on this OpenNebula front end; again is fine (as root)
# install.sh --upgrade             the same where it is installed, with the database saved first
# install.sh --uninstall [--purge] take it away; with --purge configuration, key and database, too
# install.sh --demo                show the main job on real parts in a virtual machine; needs no OpenNebula
#
# options:
#   --dry-run             say what would be done and change nothing
#   --wheelhouse DIR      Python packages from DIR, not from the network (docs/install.md says how to make one)
#   --database URL        mysql://USER@HOST/DATABASE, not a file beside OpenNebula's; the password is asked for
#   --password-file FILE  ... or is the first line of FILE
#
# The layout is that of OpenNebula's packages, or of ONE_LOCATION if that is set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

die() { echo "install.sh: $*" >&2; exit 1; }
usage() { sed -n '2,13s/^# \{0,1\}//p' "$0"; }

action=install upgrade='' purge='' dry_run='' wheelhouse='' database='' password_file='' tables=''
while [ $# -gt 0 ]; do
    case $1 in
        --upgrade) upgrade=--save ;;
        --uninstall) action=uninstall ;;
        --purge) purge=yes ;;
        --demo) exec "$here/lab/demo" ;;
        --dry-run) dry_run=yes ;;
        --wheelhouse | --database | --password-file)
            [ $# -gt 1 ] || die "$1 needs a value: see install.sh --help"
            case $1 in
                --wheelhouse) wheelhouse=$2 ;;
                --database) database=$2 ;;
                --password-file) password_file=$2 ;;
            esac
            shift
            ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; die "there is no option $1" ;;
    esac
    shift
done
[ -z "$purge" ] || [ $action = uninstall ] || die "--purge goes with --uninstall"
[ -z "$password_file" ] || [ -n "$database" ] || die "--password-file goes with --database"

# --- where things are -------------------------------------------------------------------------------------------------

if [ -n "${ONE_LOCATION:-}" ]; then
    layout="in $ONE_LOCATION"
    lib=$ONE_LOCATION/lib bin=$ONE_LOCATION/bin etc=$ONE_LOCATION/etc var=$ONE_LOCATION/var
    share=$ONE_LOCATION/share zsh=zsh/site-functions log=$ONE_LOCATION/var/one_iscsi.log
else
    layout="from packages"
    lib=/usr/lib/one bin=/usr/bin etc=/etc/one var=/var/lib/one share=/usr/share
    zsh=zsh/site-functions log=/var/log/one/one_iscsi.log
    [ ! -e /etc/debian_version ] || zsh=zsh/vendor-completions
fi
library=$lib/one_iscsi command=$bin/onevolume wrappers=$lib/sh/scripts_common.sh
configuration=$etc/one_iscsi.conf manifest=$library/files units=/etc/systemd/system rotation=/etc/logrotate.d/one_iscsi
umask 022
unset ONE_ISCSI_CONFIG ONE_ISCSI_DATABASE # what is installed is this cloud's, not that of the caller's shell

# step TEXT COMMAND...: says what is done, and does it unless this is a dry run.
step() {
    echo "${dry_run:+would }$1"
    [ -n "$dry_run" ] || "${@:2}"
}

# record PATH: --uninstall takes PATH away.
record() { grep -qsxF -- "$1" "$manifest" || echo "$1" >> "$manifest"; }

# put FILE MODE: standard input becomes FILE, at once.
put() {
    local parent missing=()
    parent=$(dirname "$1")
    while [ ! -d "$parent" ]; do
        missing=("$parent" "${missing[@]}")
        parent=$(dirname "$parent")
    done
    for parent in "${missing[@]}"; do
        mkdir "$parent"
        record "$parent"
    done
    cat > "$1.new"
    chmod "$2" "$1.new"
    record "$1"
    mv "$1.new" "$1" # the last that can fail
}

# setup WORDS...: the part that needs the program itself; it runs as oneadmin, and reads the configuration that will be.
setup() {
    local written=$venv/one_iscsi.conf
    [ ! -s "$written" ] || local -x ONE_ISCSI_CONFIG=$written
    "$venv/bin/python" -I -m one_iscsi.cli.setup "$@"
}

# --- what must be there -----------------------------------------------------------------------------------------------

check_front_end() {
    [ -n "$dry_run" ] || [ "$(id -u)" = 0 ] || die "run it as root: sudo $0"
    [ -f "$wrappers" ] ||
        die "no OpenNebula front end here ($wrappers is missing); for a self-contained one set ONE_LOCATION"
    version=$(cat "$var/remotes/VERSION" 2>/dev/null) ||
        version=$("$bin/oned" --version 2>/dev/null | sed -n 's/^OpenNebula \([0-9.]*\).*/\1/p') || :
    # ssh_monitor_and_log is the way to hosts and storage servers (4.2); what a host runs is in a VM's history since 5.0.
    case $version in [0-4].*) die "OpenNebula $version is too old: 5.0 or newer is needed" ;; esac
    grep -q '^ *\(function \)\?ssh_monitor_and_log' "$wrappers" ||
        die "OpenNebula ${version:-here} is too old: $wrappers has no ssh_monitor_and_log; 5.0 or newer is needed"
    id oneadmin >/dev/null 2>&1 || die "there is no user oneadmin"
    refuse_package
}

refuse_package() {
    local package
    package=$(dpkg-query -S "$command" 2>/dev/null | cut -d: -f1) || :
    [ -z "$package" ] || die "$command belongs to the package $package: use apt-get, or remove the package first"
}

# A Python that oneadmin can run, too: not one in root's home.
find_python() {
    local name path
    for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do
        path=$(PATH=/usr/bin:/usr/local/bin:/bin command -v $name) || continue
        "$path" -c 'import sys; sys.exit(sys.version_info < (3, 9))' || continue
        "$path" -c 'import ensurepip, venv' 2>/dev/null || die "python3-venv is needed: apt-get install python3-venv"
        python=$path
        return
    done
    die "Python 3.9 or newer is needed"
}

check_options() {
    [ -z "$wheelhouse" ] || [ -d "$wheelhouse" ] || die "--wheelhouse: there is no folder $wheelhouse"
    [ -z "$upgrade" ] || [ -e "$command" ] || die "nothing to upgrade: $command is not there; install without --upgrade"
    case $database in
        '') return ;;
        mysql://*:*@*) die "leave the password out of --database, everybody here could see it: it is asked for" ;;
        mysql://*@*/*) ;;
        *) die "--database must be like mysql://oneadmin@db.example.com/one_iscsi" ;;
    esac
    if [ -n "$password_file" ]; then
        IFS= read -r password < "$password_file" || [ -n "${password:-}" ] || die "$password_file holds no password"
    elif [ -z "$dry_run" ]; then
        [ -t 0 ] || die "there is no terminal to ask for the database's password on: use --password-file"
        read -rsp "Password for $database: " password
        echo
    fi
}

# --- install and upgrade ----------------------------------------------------------------------------------------------

# Everything is built beside what is there; what runs is changed at the end, by one rename.
install_frontend() {
    check_front_end
    find_python
    check_options
    echo "OpenNebula ${version:-of an unknown version} $layout; $("$python" --version) in $python"
    if [ -z "$dry_run" ]; then
        mkdir -p "$library"
        venv=$(mktemp -d "$library/venv.XXXXXX")
        trap failed EXIT
    fi
    step "install the program in $library" build_program
    if [ ! -e "$configuration" ]; then
        step "write the configuration $configuration" make_configuration
    elif [ -n "$database" ]; then
        step "leave $configuration as it is, if it names this database" make_configuration
    else
        step "leave $configuration as it is" :
    fi
    step "make the key of CHAP secrets ($etc/one_iscsi.key, or as configured) unless it is there" make_key
    step "make or upgrade the tables of the database" prepare_database
    step "put the command $command in place" put_command
    step "put its manual pages, completion for bash and zsh, and $library/one_iscsi.sudoers in place" put_trimmings
    step "rotate $log ($rotation)" put_filled "$here/share/one_iscsi.logrotate" "$rotation"
    if command -v systemctl >/dev/null; then
        step "have systemd run onevolume work every minute ($units/one_iscsi.timer)" start_timer
    else
        echo "no systemd here: have cron run, as oneadmin and every minute: $command work --log $log"
    fi
    trap - EXIT
    [ -n "$dry_run" ] || say_next
}

# Before the command is in place.
failed() {
    local what="onevolume is not installed" but="; what was made of configuration, key and tables stays for the next time"
    rm -rf "$venv"
    rmdir "$library" 2>/dev/null || :
    if [ -e "$command" ]; then
        what="what was installed before is unchanged and works"
        but=", unless the tables are upgraded already: then run install.sh again"
    fi
    echo "install.sh: failed; $what${tables:+$but}" >&2
}

# After that.
unfinished() {
    echo "install.sh: failed; $command is installed and works, but not all that belongs to it: run install.sh again" >&2
}

build_program() {
    local source
    [ -z "$wheelhouse" ] || export PIP_NO_INDEX=1 PIP_FIND_LINKS=$wheelhouse # also for what builds the package
    source=$(mktemp -d)
    cp -rL "$here/pyproject.toml" "$here/setup.cfg" "$here/README.md" "$here/src" "$source" # building writes into it
    "$python" -m venv "$venv"
    chmod 0755 "$venv"
    "$venv/bin/pip" install -qq --disable-pip-version-check --no-cache-dir "$source" ||
        { rm -rf "$source"; die "pip could not install the program (see above); without a network use --wheelhouse"; }
    rm -rf "$source"
    "$venv/bin/python" -I -m one_iscsi.cli --version >/dev/null
}

make_configuration() {
    (umask 0137 && printf '%s' "${password:-}" | setup config ${database:+"$database"} > "$venv/one_iscsi.conf")
    chown root:oneadmin "$venv/one_iscsi.conf"
}

# Other front ends with the same database need the same one: docs/install.md.
make_key() {
    key=$(setup key --file)
    [ -e "$key" ] || (umask 0177 && setup key > "$venv/one_iscsi.key")
}

prepare_database() {
    tables=perhaps # made or upgraded
    setup database "$var" $upgrade
}

put_command() {
    [ ! -s "$venv/one_iscsi.conf" ] || mv "$venv/one_iscsi.conf" "$configuration"
    if [ -s "$venv/one_iscsi.key" ]; then
        chown oneadmin:oneadmin "$venv/one_iscsi.key"
        mv "$venv/one_iscsi.key" "$key"
    fi
    {
        echo "#!/bin/sh"
        # shellcheck disable=SC2016 # for the shell that runs the command
        [ -z "${ONE_LOCATION:-}" ] || printf 'export ONE_LOCATION="${ONE_LOCATION:-%s}"\n' "$ONE_LOCATION"
        printf 'exec %s/bin/python -I -m one_iscsi.cli "$@"\n' "$venv"
    } | put "$command" 0755
    trap unfinished EXIT
    remove_old_programs
}

put_trimmings() {
    put "$library/one_iscsi.sudoers" 0644 < "$here/share/one_iscsi.sudoers"
    "$venv/bin/python" -I -m one_iscsi.cli.manual | put "$share/man/man1/onevolume.1" 0644
    "$venv/bin/python" -I -m one_iscsi.cli.manual configuration | put "$share/man/man5/one_iscsi.conf.5" 0644
    completion bash | put "$share/bash-completion/completions/onevolume" 0644
    completion zsh | put "$share/$zsh/_onevolume" 0644
}

# put_filled TEMPLATE FILE
put_filled() { sed "s|@COMMAND@|$command|; s|@LOG@|$log|" "$1" | put "$2" 0644; }

start_timer() {
    put_filled "$here/share/one_iscsi.service" "$units/one_iscsi.service"
    put_filled "$here/share/one_iscsi.timer" "$units/one_iscsi.timer"
    systemctl -q enable one_iscsi.timer
    if [ -d /run/systemd/system ]; then # systemd runs here: this is no container being built
        systemctl daemon-reload
        systemctl restart one_iscsi.timer
    fi
}

completion() { "$venv/bin/python" -I -m shtab --shell="$1" one_iscsi.cli.parser.build; }

# in_use PATH: a process whose program or argument begins so; nothing if there is none.
in_use() {
    local processes=(/proc/[0-9]*/cmdline) # before there is a grep, which has PATH among its arguments
    grep -lsF -- "$1" "${processes[@]}" | sed -n 's|^/proc/\([0-9]*\)/.*|\1|p;q' || :
}

# A command that still runs loads modules late: what it runs from stays until the next time.
remove_old_programs() {
    local old
    for old in "$library"/venv "$library"/venv.*; do
        if [ ! -d "$old" ] || [ "$old" = "$venv" ]; then
            continue
        elif [ -n "$(in_use "$old/bin/python")" ]; then
            echo "left $old, which a running onevolume uses: the next install takes it away"
        else
            rm -rf "$old"
        fi
    done
}

say_next() {
    cat <<EOF
installed: $("$command" --version), run by $command

Next:
  1. onevolume host prepare NODE      on every node: open-iscsi and the sudo rights (--print: a script for you to run)
  2. scp $library/one_iscsi.sudoers root@SERVER:/etc/sudoers.d/one_iscsi     on every storage server
  3. onevolume san create NAME --kind tgt --host SERVER --portal IP:3260 --vg VG
     onevolume create 10G
     onevolume check                  what is still wrong, with the fix for each
     onevolume attach VM 10G
More: man onevolume, docs/install.md
EOF
}

# --- uninstall --------------------------------------------------------------------------------------------------------

uninstall() {
    [ -n "$dry_run" ] || [ "$(id -u)" = 0 ] || die "run it as root: sudo $0 --uninstall"
    refuse_package
    if [ ! -e "$command" ] && [ ! -e "$library" ]; then
        [ -z "$purge" ] || [ ! -e "$configuration" ] ||
            die "onevolume is not installed any more: install it again to --purge the database it made"
        echo "onevolume is not installed"
        return
    fi
    running=$(in_use "$library/venv")
    [ -z "$running" ] || die "onevolume still runs (process $running): wait until it is done"
    if [ -n "$purge" ]; then
        venv=$(sed -n 's|^exec \([^ ]*\)/bin/python .*|\1|p' "$command")
        [ -n "$dry_run" ] || "$venv/bin/python" -I -c 'import one_iscsi.cli.setup' 2>/dev/null ||
            die "what is installed cannot --purge: it is broken or older than that; install it again first"
        step "take away the database and what was saved of it" setup remove "$var"
        step "take away the key of CHAP secrets" remove_key
        step "take away $configuration and $log" rm -f "$configuration" "$log" "$log".*
    fi
    step "take away $command, $library and what belongs to them" remove_files
    [ -n "$purge" ] || echo "configuration, database, key and $log stay; so do the sudoers files on nodes and storage servers"
}

# An older program has no key.
remove_key() {
    key=$(setup key --file 2>/dev/null) || return 0
    rm -f "$key"
}

remove_files() {
    local path
    if [ -e "$units/one_iscsi.timer" ]; then
        systemctl -q disable one_iscsi.timer
        [ ! -d /run/systemd/system ] || systemctl stop one_iscsi.timer
    fi
    rm -f "$command" # also what was installed before there was a manifest
    while read -r path; do
        if [ -d "$path" ]; then rmdir --ignore-fail-on-non-empty "$path"; else rm -f "$path"; fi
    done < <(tac "$manifest" 2>/dev/null)
    rm -rf "$library"
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
}

case $action in
    install) install_frontend ;;
    uninstall) uninstall ;;
esac
