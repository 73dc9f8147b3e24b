"""Scripts on other machines: with this machine's bash, and with a real sshd through the wrappers' stand-in."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes.world import use_shell
from waiting import wait_for
from worlds import Real

from one_iscsi import remote as module
from one_iscsi.errors import BadInput, SetupError
from one_iscsi.remote import Answer, Remote, RemoteFailure, parse, wrap

SERVER = "127.0.0.1"
SECRET = "TopSecret4711abc"


@pytest.fixture(params=["localhost", SERVER])
def host(request: pytest.FixtureRequest) -> str:
    """This machine without ssh, and with it."""
    if request.param == SERVER:
        request.getfixturevalue("real")
    return str(request.param)


def run(host: str, script: str, limit: int = 20, **values: str) -> Answer:
    return Remote(connect_timeout=5).run(host, "a test", script, values=values, limit=limit)


def failure(host: str, script: str, limit: int = 20) -> RemoteFailure:
    with pytest.raises(RemoteFailure) as caught:
        run(host, script, limit)
    assert "\n" not in caught.value.text
    return caught.value


def test_values_arrive_as_they_are_and_lines_come_back(host: str) -> None:
    value = 'it\'s $HOME `id` "x" \\ \t ü'
    answer = run(host, 'main() { say A "$VALUE"; say B one; say B "two\nlines"; }', VALUE=value)
    assert answer == Answer((("A", value), ("B", "one"), ("B", "two lines")))
    assert answer.get("A") == value
    assert answer.get("B") == "two lines"
    assert answer.all("B") == ["one", "two lines"]
    assert answer.get("C", "none") == "none"


def test_a_script_tells_its_error(host: str) -> None:
    answer = run(host, "main() { say A 1; fail no-target 'there is none'; say B 2; }")
    assert answer.error == ("no-target", "there is none")
    assert answer.all("B") == []


def test_noise_of_a_login_script_is_no_answer() -> None:
    assert parse("Welcome!\nA=1\nhello=world\nEND=ok\n") == Answer((("A", "1"),))
    assert parse("A=1\nERROR=some-code a text = with signs\n") == Answer(
        (("A", "1"),), ("some-code", "a text = with signs")
    )
    assert parse("A=1\n") is None
    assert parse("") is None


@pytest.mark.parametrize("script", ["main() { exit 3; }", "main() { false; }", "main() { kill $$; }", "main() { ((; }"])
def test_a_script_that_does_not_answer_is_unknown(host: str, script: str) -> None:
    assert failure(host, script).code == "unknown"


def test_a_script_that_takes_too_long_is_stopped(host: str) -> None:
    begin = time.monotonic()
    assert failure(host, "main() { sleep 60; }", limit=1).code == "timeout"
    assert time.monotonic() - begin < 8


def test_a_machine_that_cannot_be_reached(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = failure("nosuch.invalid", "main() { :; }")
    assert gone.code == "unreachable"
    assert "nosuch.invalid" in gone.text
    monkeypatch.setenv("SSH", os.environ["SSH"].replace(f"-i {real.directory}/key", "-i /dev/null"))
    refused = failure(SERVER, "main() { :; }")
    assert refused.code == "unreachable"
    assert "Permission denied" in refused.text


def test_a_connection_lost_on_the_way_leaves_the_outcome_unknown(real: Real) -> None:
    mark = Path("/dev/shm") / f"one_iscsi-test-{os.getpid()}"

    def cut() -> None:
        wait_for(lambda: real.processes("sleep 3.5"))
        for pid in real.processes("sshd: oneadmin"):
            with contextlib.suppress(ProcessLookupError):  # one ends by itself when the other is gone
                os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=cut)
    thread.start()
    assert failure(SERVER, f"main() {{ sleep 3.5; touch {mark}; }}").code == "unknown"
    thread.join()
    assert not mark.exists()
    wait_for(mark.exists)  # the script ran on
    mark.unlink()


def test_when_nobody_waits_any_longer_ssh_is_gone_and_the_script_ends_by_itself(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = Path("/dev/shm") / f"one_iscsi-test-{os.getpid()}"
    monkeypatch.setattr(module, "_SLACK", -7)  # with connect_timeout 5: gives up 2 s before the script's own limit
    assert failure(SERVER, f"main() {{ sleep 3; echo to nobody; touch {mark}; }}", limit=4).code == "timeout"
    assert not mark.exists()
    ssh = ["pgrep", "-f", f"ssh -F none -p {real.ssh_port}"]
    wait_for(lambda: not subprocess.run(ssh, capture_output=True).stdout)  # killed, and soon gone
    wait_for(mark.exists)
    mark.unlink()


def test_a_secret_is_in_no_list_of_processes(host: str) -> None:
    stop = threading.Event()

    def look() -> list[str]:
        seen = []
        while not stop.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                for path in (process / "cmdline", process / "environ"):
                    with contextlib.suppress(OSError):  # it ended
                        if SECRET.encode() in path.read_bytes():
                            seen.append(str(path))
        return seen

    with ThreadPoolExecutor() as pool:
        looking = pool.submit(look)
        try:
            answer = run(host, 'main() { sleep 1; say LENGTH "${#CHAP}"; }', CHAP=SECRET)
        finally:
            stop.set()
    assert answer.get("LENGTH") == str(len(SECRET))
    assert looking.result() == []


def test_no_exception_or_output_tells_a_secret(host: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RemoteFailure) as caught:
        run(host, "main() { exit 9; }", CHAP=SECRET)
    chain = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert SECRET not in chain + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("bash", "code"),
    [
        ("#!/bin/sh\ntee /dev/stderr; kill -9 $$\n", "unknown"),
        ("#!/bin/sh\ntee /dev/stderr; exit 3\n", "unknown"),
        ("#!/bin/sh\ntee /dev/stderr; sleep 60\n", "timeout"),
        ("#!/nonexistent\n", "unreachable"),
        ("", "unreachable"),
    ],
    ids=["killed", "failed", "too slow", "cannot start", "is not there"],
)
def test_what_becomes_of_bash_tells_no_secret(
    bash: str,
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It prints all it is given, secret and all. Neither the error, nor what led to it, nor a log at its most talkative
    has any of that."""
    (tmp_path / "bash").write_text(bash)
    (tmp_path / "bash").chmod(0o755 if bash else 0o644)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}" if bash else str(tmp_path))
    monkeypatch.setattr(module, "_SLACK", 0)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(RemoteFailure) as caught:
        Remote().run("localhost", "a test", "main() { :; }", values={"CHAP": SECRET}, limit=1)
    assert caught.value.code == code
    assert "\n" not in caught.value.text
    shown = "".join(traceback.format_exception(caught.type, caught.value, caught.tb))
    context = f"{caught.value.__cause__!r} {caught.value.__context__!r}"
    assert SECRET not in shown + context + caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_script_cut_off_anywhere_does_nothing(shell: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = wrap({"MARK": str(mark)}, ('main() {\n    echo "it\'s"\n    touch "$MARK"\n}\n',), 5)
    ends = {index for index, letter in enumerate(text) if letter == "\n"} | set(range(len(text) - 120, len(text) - 1))
    ends |= set(range(0, len(text), 40))
    ends -= {len(text) - 1}  # all but the last line's end
    use_shell(tmp_path, shell)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    for end in sorted(ends):
        cut = subprocess.run(["bash", "-s"], env=env, input=text[:end], capture_output=True, text=True, timeout=20)
        assert not mark.exists(), f"cut at {end}: {text[:end][-60:]!r}"
        assert parse(cut.stdout) is None

    subprocess.run(["bash", "-s"], env=env, input=text, capture_output=True, text=True, timeout=20)
    assert mark.exists()


@pytest.mark.parametrize("name", ["-oProxyCommand=id", "two words", "", "$(id)"])
def test_a_host_name_is_a_name(real: Real, name: str) -> None:
    with pytest.raises(BadInput):
        run(name, "main() { :; }")


def test_without_the_wrappers_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ONE_LOCATION", str(tmp_path))
    with pytest.raises(SetupError, match=f"{tmp_path}/lib/sh/scripts_common.sh is missing"):
        run("host1", "main() { :; }")


def test_root_without_the_right_to(real: Real) -> None:
    answer = run(SERVER, "main() { root 10 id; say NOT reached; }")
    assert answer.error is not None
    assert answer.error[0] == "sudo"
    assert answer.lines == ()


def test_root_limits_and_reports(real: Real) -> None:
    script = """main() {
        root 10 stat -Lc %s /etc/shadow && say SIZE "$out"
        root 10 stat -Lc %s /nosuch || say FAILED "$out"
        root 10 tgtadm-of-another-server || say NOT reached
    }"""
    answer = run(SERVER, script)
    assert answer.get("SIZE").isdigit()
    assert "No such file" in answer.get("FAILED")
    assert answer.error is not None
    assert answer.error[0] == "missing-tool"

    nobody_writes = "pipe=/var/tmp/one_iscsi-test; mkfifo $pipe; trap 'rm $pipe' EXIT"
    blocks = 'root 1 dd if=$pipe iflag=nocache count=0 status=none || say STOPPED "$? $out"'
    answer = run(SERVER, f"main() {{ {nobody_writes}; {blocks}; }}")
    assert answer.get("STOPPED") == "124 dd did not end within 1 s"


def test_what_comes_after_the_limit_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    first, _, rest = wrap({"MARK": str(mark)}, ('main() { touch "$MARK"; }',), 1).partition("\n")
    late = '{ printf "%s\\n" "$1"; sleep 3; printf "%s\\n" "$2"; } | bash -s'
    done = subprocess.run(["bash", "-c", late, "-", first, rest], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (124, "")
    assert not mark.exists()


def test_the_words_of_common_sh() -> None:
    answer = run(
        "localhost", 'main() { wait_until 1 true && say YES 1; wait_until 1 false || say NO 1; lock "t:1" 1; }'
    )
    assert answer == Answer((("YES", "1"), ("NO", "1")))


def test_the_sudoers_file_is_valid() -> None:
    shipped = Path(__file__).parents[2] / "share" / "one_iscsi.sudoers"
    checked = subprocess.run(["visudo", "-cf", shipped], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
