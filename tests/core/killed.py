"""``killed.py MOMENT WORD…`` is ``onevolume WORD…`` that dies by kill -9 at a moment.

after:PHASE    when PHASE has just been committed (``after:reserved``: with the reservation), its side effect not begun
before:PHASE   when the side effect before PHASE is done and PHASE not yet committed (``before:finish``: the last one;
               ``before:reserved``: nothing is in the journal)
never          lives; with ``HELD`` in the environment it waits before it enters its operation: it puts a file into that
               folder and goes on when there is one called ``go``
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from onevolume import main

from one_iscsi.store import Store


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hold() -> None:
    if "HELD" in os.environ:
        folder = Path(os.environ["HELD"])
        (folder / str(os.getpid())).touch()
        end = time.monotonic() + 60
        while not (folder / "go").exists():
            assert time.monotonic() < end
            time.sleep(0.01)


def arm(moment: str) -> None:
    when, _, phase = moment.partition(":")
    advance, begin, enter = Store.advance, Store.begin, Store.enter

    def dying_advance(self: Store, op: Any, to_phase: str, **updates: Any) -> Any:
        if moment == f"before:{to_phase}":
            die()
        moved = advance(self, op, to_phase, **updates)
        if moment == f"after:{to_phase}":
            die()
        return moved

    def dying_begin(self: Store, *arguments: Any, **options: Any) -> Any:
        if moment == "before:reserved":
            die()
        hold()
        begun = begin(self, *arguments, **options)
        if moment == "after:reserved":
            die()
        return begun

    def dying_enter(self: Store, *arguments: Any, **options: Any) -> Any:
        hold()
        entered = enter(self, *arguments, **options)
        if moment == "after:reserved":
            die()
        return entered

    def dying_end(self: Store, *arguments: Any, **options: Any) -> Any:
        die()

    Store.advance = dying_advance  # type: ignore[method-assign]
    Store.begin = dying_begin  # type: ignore[method-assign]
    Store.enter = dying_enter  # type: ignore[method-assign]
    if (when, phase) == ("before", "finish"):
        Store.finish = Store.forget = dying_end  # type: ignore[method-assign]


arm(sys.argv[1])
sys.exit(main(sys.argv[2:]))
