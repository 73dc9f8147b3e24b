"""A tgtadm with its daemon in a file ($FAKE_TGT); texts and exit codes as recorded in tests/data/tgt.

A session marked "returns" logs in again by itself, as initiators do, if access is still open; one marked "stays" cannot
be dropped.
"""

import fcntl
import os
import sys

from fakes.state import dump, load

HEADER = """Target {tid}: {iqn}
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
"""
NEXUS = """        I_T nexus: {sid}
            Initiator: {initiator} alias: none
            Connection: 0
                IP Address: {address}
"""
LUN = """        LUN: {lun}
            Type: {type}
            SCSI ID: {scsi_id}
            SCSI SN: {serial}
            Size: {size} MB, Block size: {block}
            Online: Yes
            Removable media: No
            Prevent removal: No
            Readonly: No
            SWP: No
            Thin-provisioning: No
            Backing store type: {store}
            Backing store path: {path}
            Backing store flags: 
"""  # noqa: W291

# argparse takes as long as all the rest
PLAIN = ("lld", "op", "mode", "tid", "sid", "cid", "user", "password", "targetname", "lun", "params")
OPTIONS = {name: name for name in PLAIN} | {
    "initiator-address": "address",
    "initiator-name": "name",
    "backing-store": "store",
}


class Refused(Exception):
    pass


class Arguments:
    """Each of OPTIONS, None if it was not given."""

    def __init__(self, given):
        vars(self).update({name: given.pop(f"--{option}", None) for option, name in OPTIONS.items()})


def shown(targets):
    text = ""
    for tid, t in sorted(targets.items(), key=lambda item: int(item[0])):
        text += HEADER.format(tid=tid, iqn=t["iqn"])
        for sid, session in t["sessions"].items():
            text += NEXUS.format(sid=sid, **session)
        text += "    LUN information:\n"
        controller = {"lun": 0, "type": "controller", "scsi_id": f"IET     {int(tid):04x}0000", "serial": f"beaf{tid}0"}
        text += LUN.format(**controller, size=0, block=1, store="null", path="None")
        if t["path"]:
            lun = t.get("lun", 1)
            disk = {"lun": lun, "type": "disk", "scsi_id": t["scsi_id"] or f"IET     {int(tid):04x}{lun:04x}"}
            disk["serial"] = t["serial"] or f"beaf{tid}{lun}"
            text += LUN.format(**disk, size=t["megabytes"], block=512, store="rdwr", path=t["path"])
        text += "    Account information:\n" + "".join(f"        {user}\n" for user in t["accounts"])
        text += "    ACL information:\n" + "".join(f"        {entry}\n" for entry in t["access"])
    return text


def change(state, args):
    targets, accounts = state["targets"], state["accounts"]
    if args.mode == "account" and args.op == "new":
        if args.user in accounts:
            raise Refused("this account already exists")
        accounts[args.user] = args.password
        return
    if args.mode == "account" and args.op == "delete":
        if accounts.pop(args.user, None) is None:
            raise Refused("can't find the account")
        for t in targets.values():
            t["accounts"] = [user for user in t["accounts"] if user != args.user]
        return
    if args.mode == "target" and args.op == "new":
        if args.tid in targets or any(t["iqn"] == args.targetname for t in targets.values()):
            raise Refused("this target already exists")
        targets[args.tid] = {
            "iqn": args.targetname, "path": "", "megabytes": 0, "serial": "", "scsi_id": "",
            "sessions": {}, "accounts": [], "access": [],
        }  # fmt: skip
        return
    if args.tid not in targets:
        raise Refused("can't find the target")
    t = targets[args.tid]
    if args.mode == "target" and args.op == "delete":
        if t["sessions"]:
            raise Refused("this target is still active")
        del targets[args.tid]
        return
    if args.mode == "logicalunit":
        change_disk(t, args)
        return
    if args.mode == "conn":
        if args.sid not in t["sessions"]:
            raise Refused("can't find the session")
        session = t["sessions"].pop(args.sid)
        if session.get("stays") or (session.get("returns") and ({"ALL", session["address"]} & set(t["access"]))):
            t["sessions"][str(int(args.sid) + 1)] = session
        return
    if args.mode == "account":
        what, bound, missing = args.user, t["accounts"], "can't find the account"
        if args.user not in accounts:
            raise Refused(missing)
    else:
        what, bound, missing = args.address or args.name, t["access"], "this access control rule does not exist"
        if args.op == "unbind" and bool(args.name) != what.startswith("iqn."):
            raise Refused(missing)
    if args.op == "bind":
        if what in bound:
            raise Refused("this access control rule already exists")
        bound.append(what)
    elif what in bound:
        bound.remove(what)
    else:
        raise Refused(missing)


def change_disk(t, args):
    if args.op == "new":
        if t["path"]:
            raise Refused("this logical unit number already exists")
        if not os.path.exists(args.store):
            raise Refused("invalid request")
        t.update(path=args.store, lun=int(args.lun), megabytes=os.path.getsize(args.store) // 10**6)
        t.update(serial="", scsi_id="")
    elif not t["path"] or int(args.lun) != t.get("lun", 1):
        raise Refused("can't find the logical unit")
    elif args.op == "delete":
        t["path"] = ""
    else:
        told = dict(pair.split("=") for pair in args.params.split(","))
        t.update(scsi_id=told["scsi_id"], serial=told["scsi_sn"])


def save(file, state):
    file.seek(0)
    file.truncate()
    file.write(dump(state))


def die(file, state, args):
    """The daemon dies in its answer; what was asked for is done, or half told. tgtadm does not mind."""
    if args.op == "show":
        text = shown(state["targets"])
        print(text[: len(text) // 2])
        print("failed to read from tgtd, 0", file=sys.stderr)
    else:
        import contextlib  # takes half as long as all the rest

        with contextlib.suppress(Refused):
            change(state, args)
        save(file, state)
        print("tgtadm: tgtd closed the socket", file=sys.stderr)
    return 0


def main():
    given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    args = Arguments(given)
    if given:
        print(f"tgtadm: unrecognized option '{next(iter(given))}'", file=sys.stderr)
        return 1
    with open(os.environ["FAKE_TGT"], "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = load(file.read())
        if state["down"]:
            print(
                "tgtadm: failed to send request hdr to tgt daemon, Transport endpoint is not connected", file=sys.stderr
            )
            return 107
        if state.get("dies_at"):
            state["dies_at"] -= 1
            if not state["dies_at"]:
                state["died"] = True
            save(file, state)
            if state.get("died"):
                return die(file, state, args)
        if args.op == "show":
            print(shown(state["targets"]), end="")
            return 0
        try:
            change(state, args)
        except Refused as error:
            print(f"tgtadm: {error}", file=sys.stderr)
            return 22
        save(file, state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
