"""``python -m one_iscsi.cli`` is ``onevolume``."""

import sys

from one_iscsi.cli import main

sys.exit(main())
