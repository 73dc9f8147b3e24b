"""The reference says what the commands say."""

from __future__ import annotations

from pathlib import Path

import pytest

from one_iscsi.cli import main, reference
from one_iscsi.cli.parser import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_is_made_from_the_commands() -> None:
    made = "python -m one_iscsi.cli.reference > docs/cli.md"
    assert (ROOT / "docs" / "cli.md").read_text() == reference.text(), f"docs/cli.md is out of date: {made}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help_with_examples(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    name = command.name  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as done:
        main([*name.split(), "--help"])
    assert done.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: onevolume {name}" in shown
    for example in command.examples:  # type: ignore[attr-defined]
        assert example in shown


def test_a_usage_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["attach"])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert error == ("onevolume attach: the following arguments are required: VM: see onevolume attach --help\n")
