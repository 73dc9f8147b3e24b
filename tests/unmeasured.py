"""For Python programs that are not one_iscsi: coverage would start in each, and take longer than its work."""

from __future__ import annotations

import os


def environment() -> dict[str, str]:
    """This process's, without what starts coverage in another."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
