"""``python -m one_iscsi.cli`` is ``onevolume``."""

from one_iscsi.cli import command

command()
