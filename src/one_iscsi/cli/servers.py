"""The commands about storage servers: create, list, show, scan, delete."""

from __future__ import annotations

from argparse import Namespace

from one_iscsi import sans, scanning, volumes
from one_iscsi.cli import documents
from one_iscsi.cli.commands import print_list, print_one
from one_iscsi.cli.operations import each, fate, said
from one_iscsi.cli.output import Document
from one_iscsi.cli.session import confirm, core
from one_iscsi.errors import BadInput
from one_iscsi.iscsi import Portal
from one_iscsi.model import San


def create_san(options: Namespace) -> None:
    """``onevolume san create``."""
    places = [
        (kind, where) for kind, where in (("lvm", options.vg), ("thin", options.thin), ("file", options.path)) if where
    ]
    if len(places) > 1:
        raise BadInput("volumes are made in one place", "give one of --vg, --thin and --path")
    wanted = San(
        id=0,
        name=options.name,
        kind=options.kind,
        portals=tuple(map(Portal.parse, options.portal)),
        ssh_host=options.host,
        location=sans.location(*places[0]) if places else "",
        clusters=tuple(options.cluster),
        pool=options.pool,
    )
    with core() as here:
        san = sans.create(here, wanted)
        print(f"storage server {san.id} ({san.name}) created")


def list_sans(options: Namespace) -> None:
    """``onevolume san list``."""
    with core() as here:
        rows = here.store.sans()
        found: list[Document] = [documents.san(row, room) for row, room in zip(rows, sans.rooms(here, rows))]
    print_list(options, "SAN_POOL", "SAN", found, documents.SANS)


def show_san(options: Namespace) -> None:
    """``onevolume san show``."""
    with core() as here:
        row = here.store.san(options.san)
        [room] = sans.rooms(here, [row])
        document = documents.san(here.store.san(row.id), room)
    print_one(options, "SAN", document, "STORAGE SERVER")


def scan_san(options: Namespace) -> int:
    """``onevolume san scan``."""
    with core() as here:
        san, found = scanning.scan(here, options.san)
        if not options.register:
            rows: list[Document] = [documents.difference(one) for one in found]
            print_list(options, "SCAN", "TARGET", rows, documents.DIFFERENCES)
            return 0
        new = [one.iqn for one in found if one.what == scanning.ON_SERVER]
        if not new:
            print(f"storage server {san.name} has no target that is not registered")
            return 0
        confirm("ALL DATA ON THESE TARGETS WILL BE ERASED:\n  " + "\n  ".join(new), options.yes)

        def act(iqn: str) -> None:
            volume = volumes.register(here, volumes.Registration(iqn, san=san.name))
            print(f"{said(volume)} registered from {iqn}, {fate(here, volume)}")

        return each(new, act)


def delete_san(options: Namespace) -> None:
    """``onevolume san delete``."""
    with core() as here:
        san = here.store.san(options.san)
        here.store.delete_san(san.id)
        print(f"storage server {san.id} ({san.name}) deleted")
