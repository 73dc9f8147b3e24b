"""The states of a volume and the only ways between them."""

from __future__ import annotations

CREATING = "creating"
DIRTY = "dirty"
WIPING = "wiping"
FREE = "free"
ATTACHING = "attaching"
IN_USE = "in_use"
DETACHING = "detaching"
AVAILABLE = "available"
DELETING = "deleting"
RESIZING = "resizing"
DISABLED = "disabled"
ERROR = "error"
#: What is not in the table any more.
GONE = "gone"

#: A volume in one of these is being worked on by the operation in its journal slot.
BUSY = frozenset({CREATING, WIPING, ATTACHING, DETACHING, DELETING, RESIZING})

#: from → to. ``error`` can be entered from everywhere and is left by recover, to whatever was observed, and by delete.
TRANSITIONS: dict[str, frozenset[str]] = {
    CREATING: frozenset({FREE, DIRTY, ERROR}),
    DIRTY: frozenset({WIPING, DELETING, DISABLED, ERROR}),
    WIPING: frozenset({FREE, DIRTY, ERROR}),
    FREE: frozenset({ATTACHING, DELETING, RESIZING, DISABLED, ERROR}),
    # Undo goes back to free or available only if the plug cannot have run; else free → dirty.
    ATTACHING: frozenset({IN_USE, FREE, AVAILABLE, DIRTY, ERROR}),
    IN_USE: frozenset({DETACHING, RESIZING, ERROR}),
    DETACHING: frozenset({IN_USE, AVAILABLE, DIRTY, ERROR}),
    AVAILABLE: frozenset({ATTACHING, DIRTY, WIPING, DELETING, RESIZING, DISABLED, ERROR}),
    RESIZING: frozenset({FREE, AVAILABLE, IN_USE, ERROR}),
    DELETING: frozenset({FREE, DIRTY, AVAILABLE, ERROR}),
    DISABLED: frozenset({FREE, DIRTY, AVAILABLE, ERROR}),
    ERROR: frozenset({FREE, DIRTY, AVAILABLE, IN_USE, DELETING}),
}

KEEP = "keep"
RELEASE = "release"

#: What a finished detach leaves, by its ``then``.
AFTER_DETACH = {KEEP: AVAILABLE, RELEASE: DIRTY}

#: What an undone attach leaves once the plug may have run, by the status it began from.
AFTER_UNDONE_PLUG = {FREE: DIRTY, AVAILABLE: AVAILABLE}
