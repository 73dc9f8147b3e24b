"""``onevolume.py WORD…`` is ``onevolume WORD…``; in a fake world its storage server makes volumes (fakes/maker.py)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.maker import LioMaker, Maker

from one_iscsi import san
from one_iscsi.cli import main

if "FAKE_TGT" in os.environ:
    san.KINDS.update(tgt=Maker, lio=LioMaker)

if __name__ == "__main__":
    sys.exit(main())
