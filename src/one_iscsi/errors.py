"""Every error a user can meet: one line of what is wrong, one of what to do, and a documented exit code."""

from __future__ import annotations


class OneIscsiError(Exception):
    """The operation failed; what it had begun was undone."""

    exit_code = 1

    def __init__(self, what: str, fix: str = "") -> None:
        """``what`` is wrong and how to ``fix`` it: both single lines without a trailing full stop."""
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}: {self.fix}" if self.fix else self.what


class BadInput(OneIscsiError):
    """An argument or an option cannot be understood."""

    exit_code = 2


class NotFound(OneIscsiError):
    """No such volume, VM, storage server, host or operation."""

    exit_code = 3


class NoVolume(OneIscsiError):
    """No free volume fits the request."""

    exit_code = 4


class WrongState(OneIscsiError):
    """The volume, the VM or the storage server is not in a state that allows this."""

    exit_code = 5


class LostRace(WrongState):
    """Another process changed the row first."""


class NotAllowed(OneIscsiError):
    """The user may not do this, or did not confirm it."""

    exit_code = 6


class FrontendError(OneIscsiError):
    """oned cannot be asked, or refused."""

    exit_code = 7


class NodeError(OneIscsiError):
    """A host refused a step or cannot be reached.

    ``code`` is the word a node script answered with (``login-auth``, ``target-busy`` …; ``unreachable`` when ssh
    failed, ``unknown`` when the answer is missing, so nobody knows how far the script came).
    ``clean``: the script says that it left no session, no record and nothing plugged.
    ``plug_tried``: the guest may have seen the device, if only for a moment.
    ``unplugged``: the guest does not have it any more, what is left to do is the host's.
    """

    exit_code = 8

    def __init__(
        self,
        what: str,
        fix: str = "",
        code: str = "unknown",
        *,
        clean: bool = False,
        plug_tried: bool = True,
        unplugged: bool = False,
    ) -> None:
        super().__init__(what, fix)
        self.code = code
        self.clean = clean
        self.plug_tried = plug_tried
        self.unplugged = unplugged


class StorageError(OneIscsiError):
    """A storage server refused a step or cannot be reached.

    ``code`` as in NodeError; ``began``: something was changed there before the step failed.
    """

    exit_code = 9
    began = False

    def __init__(self, what: str, fix: str = "", code: str = "unknown") -> None:
        super().__init__(what, fix)
        self.code = code


class StoreError(OneIscsiError):
    """The database cannot be opened, read or written."""

    exit_code = 10


class Unfinished(OneIscsiError):
    """An operation stopped half-way and could not be undone; its journal row stays open for recover."""

    exit_code = 11


class SetupError(OneIscsiError):
    """This front end lacks something, such as OpenNebula's ssh wrappers."""

    exit_code = 12


class ConfigError(OneIscsiError):
    """The configuration file cannot be read, or has a mistake."""

    exit_code = 13
