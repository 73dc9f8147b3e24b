"""Which node of the lab tests work with: each of pytest's workers (``-n 2``) has one to itself."""

from __future__ import annotations

import os

NODE = os.environ.get("ONE_ISCSI_LAB_NODE", "node1")
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    NODE += f"-{worker}"
