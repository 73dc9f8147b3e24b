"""The commands that change something: parse, call the core, say what happened."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable

from one_iscsi import accounts, attaching, creating, detaching, recovery, resizing, states, volumes, wiping
from one_iscsi.cli import documents, output
from one_iscsi.cli.commands import print_list
from one_iscsi.cli.session import chap_account, confirm, core, references, warn
from one_iscsi.core import Core
from one_iscsi.errors import BadInput, OneIscsiError, WrongState
from one_iscsi.iscsi import Portal
from one_iscsi.model import Volume
from one_iscsi.units import format_size, parse_size


def register(options: Namespace) -> None:
    """``onevolume register``."""
    wanted = volumes.Registration(
        iqn=options.iqn,
        portals=tuple(map(Portal.parse, options.portal)),
        size_bytes=parse_size(options.size) if options.size else 0,
        lun=options.lun,
        san=options.san or "",
        name=options.name or "",
        assume_clean=options.assume_clean,
        chap=chap_account(options),
    )
    with core() as here:
        volume = volumes.register(here, wanted)
        print(f"volume {volume.id} ({format_size(volume.size_bytes)}) registered, it is {volume.status}")
        _wait(here, volume, options.wait)


def create(options: Namespace) -> None:
    """``onevolume create``."""
    if options.count < 1:
        raise BadInput(f"--count {options.count} is no number of volumes", "give 1 or more")
    size_bytes, made = parse_size(options.size), []
    with core() as here:
        names = _names(here, options.name, options.count)
        try:
            for name in names:
                volume = creating.create(here, creating.Order(size_bytes, name, options.san, options.pool))
                made.append(volume)
                if not options.form:
                    san = here.store.san(volume.san_id).name
                    print(f"{said(volume)} created on storage server {san}, {fate(here, volume)}", flush=True)
            for number, volume in enumerate(made):
                made[number] = _wait(here, volume, options.wait, silent=bool(options.form))
        finally:
            if options.form:
                found: list[output.Document] = [
                    documents.volume(row, here.store.san(row.san_id).name, []) for row in made
                ]
                print_list(options, "VOLUME_POOL", "VOLUME", found, ())


def _names(here: Core, name: str, count: int) -> list[str]:
    """The names of ``count`` new volumes: NAME, or NAME-1, NAME-2 …; empty ones are called after their ids."""
    names = [name] if count == 1 else [name and f"{name}-{number}" for number in range(1, count + 1)]
    return [one and volumes.check_name(here, one) for one in names]


def said(volume: Volume) -> str:
    """A volume in the words of every command."""
    return f"volume {volume.id} ({format_size(volume.size_bytes)})"


def attach(options: Namespace) -> None:
    """``onevolume attach``."""
    if bool(options.size) == bool(options.volume):
        raise BadInput("give either SIZE or --volume", "see onevolume attach --help")
    if options.volume and options.pool:
        raise BadInput("--pool chooses among free volumes, --volume names one", "leave one of them out")
    with core(options.asker) as here:
        request = attaching.Request(
            vm=options.vm,
            size_bytes=parse_size(options.size) if options.size else 0,
            volume=options.volume or "",
            pool=options.pool,
            target=options.target or "",
            read_only=options.read_only,
            on_terminate=options.on_terminate or here.config.on_terminate,
        )
        volume, attachment = attaching.attach(here, request)
        if options.form:
            document = documents.volume(volume, here.store.san(volume.san_id).name, [attachment])
            if options.form == "json":
                output.as_json({"VOLUME": document})
            else:
                output.as_xml("VOLUME", document)
            return
        print(
            f"volume {volume.id} ({format_size(volume.size_bytes)}) attached to VM {attachment.vm_id} "
            f"on host {attachment.host} as {attachment.target}"
        )


def detach(options: Namespace) -> None:
    """``onevolume detach``."""
    then = states.KEEP if options.keep else states.RELEASE
    with core(options.asker) as here:
        wiping.collect(here)
        plan = detaching.plan(here, options.vm, options.volume)
        confirm(_explain(plan, options.keep), options.yes)
        volume = detaching.detach(here, plan, then)
        size = format_size(volume.size_bytes)
        print(f"volume {volume.id} ({size}) detached from VM {plan.attachment.vm_id}, {fate(here, volume)}")
        _wait(here, volume, options.wait)


_FATE = {
    states.AVAILABLE: "its data is kept",
    states.WIPING: "it is being wiped",
    states.DIRTY: "it waits for its wipe",
    states.FREE: "it is free",
    states.ERROR: "its wipe failed",
}


def fate(here: Core, volume: Volume) -> str:
    """What becomes of a volume now, in words."""
    if any(op.phase == wiping.QUEUED for op in here.store.ops(kind=wiping.KIND, volume_id=volume.id)):
        return _FATE[states.DIRTY]
    return _FATE[volume.status]


def _explain(plan: detaching.Plan, keep: bool) -> str:
    volume, attachment = plan.volume, plan.attachment
    where = f"from VM {attachment.vm_id} ({plan.vm_name}) on host {attachment.host}"
    guest = f"\nThe guest loses its disk {attachment.target}: unmount it there first." if plan.unplug else ""
    fate = (
        "Its data stays; only VMs of its owner can get it." if keep else "ALL DATA ON IT WILL BE ERASED (see --keep)."
    )
    what = f"Volume {volume.id} ({volume.name}, {format_size(volume.size_bytes)})"
    return f"{what} will be detached {where}.{guest}\n{fate}"


#: What is waited for, by the status of the volume.
_WAITED_FOR = {states.WIPING: "wiping volume", states.RESIZING: "wiping the new part of volume"}


def _wait(here: Core, volume: Volume, wait: bool, silent: bool = False) -> Volume:
    what = _WAITED_FOR.get(volume.status)
    if not wait or not what:
        return volume
    bar = output.ProgressBar(f"{what} {volume.id}")
    try:
        volume = recovery.wait(here, volume, bar)
    finally:
        bar.end()
    if not silent:
        print(f"volume {volume.id} is {volume.status}")
    return volume


def each(refs: list[str], act: Callable[[str], None]) -> int:
    """Act on every volume; an error is told and the rest still done, as OpenNebula's commands do."""
    code = 0
    for ref in refs:
        try:
            act(ref)
        except OneIscsiError as error:
            if len(refs) == 1:
                raise
            print(f"onevolume: {error}", file=sys.stderr)
            code = error.exit_code
    return code


def release(options: Namespace) -> int:
    """``onevolume release``."""
    refs = references(options.volumes)
    confirm(f"ALL DATA ON {_several(refs)} WILL BE ERASED.", options.yes)
    with core() as here:
        wiping.collect(here)

        def act(ref: str) -> None:
            volume = volumes.release(here, ref)
            print(f"volume {volume.id} released, {fate(here, volume)}")
            _wait(here, volume, options.wait)

        return each(refs, act)


def _several(refs: list[str]) -> str:
    return f"VOLUME{'S' if len(refs) > 1 else ''} {', '.join(refs)}"


def delete(options: Namespace) -> int:
    """``onevolume delete``."""
    refs = references(options.volumes)
    confirm(
        f"{_several(refs)} will be taken out of the table. What onevolume create made is WIPED AND REMOVED from its\n"
        "storage server; targets that were registered stay there, closed, with their data.",
        options.yes,
    )
    with core() as here:

        def act(ref: str) -> None:
            volume = volumes.delete(here, ref)
            if volume.status != states.GONE:
                print(f"{said(volume)} will be deleted, {fate(here, volume)}")
                _wait(here, volume, options.wait)
            elif volume.made:
                print(f"volume {volume.id} deleted, its storage server has room for another")
            else:
                print(f"volume {volume.id} deleted, its target {volume.iqn} stays on the storage server")

        return each(refs, act)


def enable(options: Namespace) -> int:
    """``onevolume enable``."""
    with core() as here:

        def act(ref: str) -> None:
            volume = volumes.enable(here, ref)
            print(f"volume {volume.id} enabled, it is {volume.status}")

        return each(references(options.volumes), act)


def disable(options: Namespace) -> int:
    """``onevolume disable``."""
    with core() as here:

        def act(ref: str) -> None:
            print(f"volume {volumes.disable(here, ref).id} disabled")

        return each(references(options.volumes), act)


def recover(options: Namespace) -> int:
    """``onevolume recover``."""
    if options.force and not options.volumes:
        raise BadInput("--force gives up data and names no volume", "give the volume")
    with core() as here:
        refs = references(options.volumes) or recovery.candidates(here)
        if not refs:
            print("nothing to recover")

        def act(ref: str) -> None:
            try:
                volume = recovery.recover(here, ref, force=options.force)
            except WrongState as error:
                if options.volumes:
                    raise
                warn(str(error))  # somebody is at work on it: fine
                return
            print(f"volume {volume.id} recovered, it is {volume.status}")
            _wait(here, volume, options.wait)

        return each(refs, act)


def resize(options: Namespace) -> None:
    """``onevolume resize``."""
    size_bytes = parse_size(options.size)
    with core() as here:
        before = here.store.volume(options.volume)
        volume = _wait(here, resizing.resize(here, options.volume, size_bytes), True, silent=True)
        print(f"volume {volume.id} resized from {format_size(before.size_bytes)} to {format_size(volume.size_bytes)}")


def rename(options: Namespace) -> None:
    """``onevolume rename``."""
    with core() as here:
        volume = volumes.rename(here, options.volume, options.name)
        print(f"volume {volume.id} renamed to {volume.name}")


def chap(options: Namespace) -> None:
    """``onevolume chap``."""
    account = chap_account(options)
    if bool(account) == options.remove:
        raise BadInput("give either --chap-user or --remove", "see onevolume chap --help")
    with core() as here:
        volume = accounts.change(here, options.volume, account)
        if not account:
            print(f"volume {volume.id} has no CHAP account any more")
        else:
            both = f", its target as {account.target_user}" if account.target_user else ""
            print(f"hosts log in to volume {volume.id} as {account.user}{both}")
