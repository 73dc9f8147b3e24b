"""The reference, the manual page and the completion say what the commands say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from one_iscsi import config
from one_iscsi.cli import configuration, main, manual, reference
from one_iscsi.cli.parser import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_is_made_from_the_commands() -> None:
    made = "python -m one_iscsi.cli.reference > docs/cli.md"
    assert (ROOT / "docs" / "cli.md").read_text() == reference.text(), f"docs/cli.md is out of date: {made}"


def test_the_page_about_the_configuration_is_made_from_its_schema() -> None:
    made = "python -m one_iscsi.cli.configuration > docs/configuration.md"
    written = (ROOT / "docs" / "configuration.md").read_text()
    assert written == configuration.text(), f"docs/configuration.md is out of date: {made}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help_with_examples(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    name = command.name  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as done:
        main([*name.split(), "--help"])
    assert done.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: onevolume {name}" in shown
    assert command.examples  # type: ignore[attr-defined]
    for example in command.examples:  # type: ignore[attr-defined]
        assert f"  {example}\n" in shown
        assert example.startswith(f"onevolume {name}")


def test_a_usage_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["attach"])
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert error == ("onevolume attach: the following arguments are required: VM: see onevolume attach --help\n")


def shown_by_man(page: str) -> str:
    groff = ["groff", "-man", "-ww", "-Kutf8", "-Tutf8", "-P-c", "-P-b", "-P-u", "-rLL=200n"]
    shown = subprocess.run(groff, input=page.encode(), capture_output=True, check=True)
    assert not shown.stderr
    return shown.stdout.decode()


def test_the_manual_pages_say_all_that_can_be_typed_and_set() -> None:
    page = shown_by_man(manual.commands())
    for command in COMMANDS:
        assert reference.usage(command).replace("…", "...") in page
        assert all(example in page for example in command.examples)
    page = " ".join(shown_by_man(manual.configuration()).split())
    for key in config.SCHEMA:
        assert f"{key.name} {key.text.split()[0]}" in page
        assert f"Default: {key.default}." in page


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("onevolume att", {"attach"}),
        ("onevolume san cr", {"create"}),
        ("onevolume san create --ki", {"--kind"}),
        ("onevolume attach --on-terminate ", {"keep", "release"}),
    ],
)
def test_bash_completes(typed: str, offered: set[str], tmp_path: Path) -> None:
    shtab = [sys.executable, "-m", "shtab", "--shell=bash", "one_iscsi.cli.parser.build"]
    made = subprocess.run(shtab, capture_output=True, check=True).stdout
    (tmp_path / "onevolume").write_bytes(made)
    tab = r"""
        . "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        function=$(complete -p onevolume | sed 's/.* -F \([^ ]*\).*/\1/')
        $function
        printf '%s\n' "${COMPREPLY[@]}"
    """
    words = ["bash", "-c", tab, "tab", str(tmp_path / "onevolume"), *typed.split(" ")]
    assert set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()) == offered
