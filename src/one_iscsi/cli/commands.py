"""The commands that only look: list, show, events."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from one_iscsi import wiping
from one_iscsi.cli import documents, listing, output
from one_iscsi.cli.output import Column, Document
from one_iscsi.cli.session import core, warn
from one_iscsi.errors import NotFound
from one_iscsi.model import Attachment


def print_list(options: Namespace, pool: str, name: str, found: list[Document], columns: Sequence[Column]) -> None:
    """A pool in the form that was asked for; only what ``--filter`` lets through."""
    found = listing.keep(found, columns, options.filter)
    columns = listing.choose(columns, options.columns)
    if options.form == "json":
        output.as_json({pool: {name: found}})
    elif options.form == "xml":
        output.as_xml(pool, {name: found})
    elif options.form == "csv":
        output.as_csv(found, columns, options.header)
    else:
        output.table(found, columns, options.header)


def print_one(options: Namespace, name: str, document: Document, title: str = "") -> None:
    """One record in the form that was asked for."""
    if options.form == "json":
        output.as_json({name: document})
    elif options.form == "xml":
        output.as_xml(name, document)
    else:
        output.page(title or name, document)


def list_volumes(options: Namespace) -> None:
    """``onevolume list``."""
    with core() as here:
        for trouble in wiping.collect(here):
            warn(trouble)
        store = here.store
        san_id = store.san(options.san).id if options.san else None
        names = {san.id: san.name for san in store.sans()}
        attachments: dict[int, list[Attachment]] = {}
        for one in store.attachments():
            attachments.setdefault(one.volume_id, []).append(one)
        found: list[Document] = [
            documents.volume(row, names.get(row.san_id, "-"), attachments.get(row.id, []))
            for row in store.volumes(status=options.status, san_id=san_id)
        ]
    print_list(options, "VOLUME_POOL", "VOLUME", found, documents.VOLUMES)


def show_volume(options: Namespace) -> None:
    """``onevolume show``."""
    with core() as here:
        for trouble in wiping.collect(here):
            warn(trouble)
        row = here.store.volume(options.volume)
        document = documents.volume(row, here.store.san(row.san_id).name, here.store.attachments(volume_id=row.id))
        document["CHAP"] = [documents.chap(one) for one in here.store.chaps(row.id).values()]
        document["OPERATION"] = [documents.operation(op) for op in here.store.ops(volume_id=row.id)]
    print_one(options, "VOLUME", document)


def list_events(options: Namespace) -> None:
    """``onevolume events``."""
    with core() as here:
        volume_id = None
        if options.volume:
            try:
                volume_id = here.store.volume(options.volume).id
            except NotFound:
                if not (options.volume.isascii() and options.volume.isdecimal()):
                    raise
                volume_id = int(options.volume)
        found: list[Document] = [documents.event(row) for row in here.store.events(volume_id, options.limit)]
    print_list(options, "EVENT_POOL", "EVENT", found, documents.EVENTS)


def list_wipes(options: Namespace) -> None:
    """``onevolume wipe list``."""
    with core() as here:
        names = {san.id: san.name for san in here.store.sans()}
        wipes = wiping.overview(here)
    for one in wipes:
        if one.trouble:
            warn(f"wipe of volume {one.volume.id}: {one.trouble}")
    found: list[Document] = [documents.wipe(one, names[one.volume.san_id]) for one in wipes]
    print_list(options, "WIPE_POOL", "WIPE", found, documents.WIPES)


def list_hosts(options: Namespace) -> None:
    """``onevolume host list``."""
    with core() as here:
        found: list[Document] = [documents.host(row) for row in here.store.hosts()]
    print_list(options, "HOST_POOL", "HOST", found, documents.HOSTS)


def show_host(options: Namespace) -> None:
    """``onevolume host show``."""
    with core() as here:
        row = here.store.known_host(options.host)
    print_one(options, "HOST", documents.host(row))
