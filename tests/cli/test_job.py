"""A client as a job, on a real terminal and without one; the local proxy is played (play_proxy.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wardgate.cli.access import job
from wardgate.cli.exits import ExitError
from wardgate.testing.terminal import CTRL_C, CTRL_Z, Terminal

HERE = Path(__file__).parent
# Says its process group, then echoes lines; Ctrl+C does not end it.
CLIENT = """
import os, signal, sys
signal.signal(signal.SIGINT, lambda *_: print("client interrupted", flush=True))
print("group", os.getpgrp(), "of", os.getpid(), "front", os.getppid(), os.getpgid(os.getppid()), flush=True)
for line in sys.stdin:
    print("said", line.strip(), flush=True)
"""
StartTerminal = Callable[..., Terminal]


def argv(how: str, *client: str) -> list[str]:
    return [sys.executable, str(HERE / "play_proxy.py"), how, *client]


def run(*client: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        argv("serve", *client), capture_output=True, text=True, timeout=30, start_new_session=True, **options
    )


@pytest.fixture
def terminal() -> Iterator[StartTerminal]:
    opened: list[Terminal] = []

    def open_one(*words: str, **env: str) -> Terminal:
        opened.append(Terminal(words, env={**os.environ, **env}))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def cue(tmp_path: Path) -> Path:
    path = tmp_path / "cue"
    os.mkfifo(path)
    return path


# --- what it gets


def test_the_uri_stands_in_the_arguments_without_its_password_and_whole_in_the_environment() -> None:
    show = "import os, sys; print(sys.argv[1:], os.environ['WARDGATE_URI'])"
    done = run(sys.executable, "-c", show, "{uri}", "--uri={uri}", "{other}")
    shown = "mongodb://rw@127.0.0.1:1/"
    assert done.stdout == f"['{shown}', '--uri={shown}', '{{other}}'] mongodb://rw:wgs_secret@127.0.0.1:1/\n"


def test_without_a_place_for_it_nothing_is_added() -> None:
    assert run(sys.executable, "-c", "import sys; print(sys.argv)").stdout == "['-c']\n"


def test_tokens_of_ours_are_not_the_clients() -> None:
    names = ("TOKEN", "ENROLMENT_TOKEN", "MASTER_KEY", "DATABASE_URL", "SMTP_URL")
    secrets = dict.fromkeys((f"WARDGATE_{name}" for name in names), "secret")
    show = "import os; print(sorted(n for n in os.environ if n.startswith('WARDGATE_')), os.environ['KEPT'])"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("WARDGATE_")}
    done = run(sys.executable, "-c", show, env={**plain, **secrets, "KEPT": "kept"})
    assert done.stdout == "['WARDGATE_URI'] kept\n"


def test_signals_are_as_a_shell_leaves_them() -> None:
    """Python ignores SIGPIPE; a client that inherited that would write into a closed pipe for ever."""
    assert run("sh", "-c", "kill -PIPE $$; echo survived").returncode == 128 + signal.SIGPIPE


def test_our_listening_sockets_are_not_the_clients() -> None:
    done = run(sys.executable, "-c", "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd')))")
    assert len(json.loads(done.stdout)) == 4  # 0, 1, 2 and the folder that is being read


def test_standard_input_and_output_are_its_own() -> None:
    done = run("cat", input="a\nb\n")
    assert done.stdout == "a\nb\n"


# --- how it ends


@pytest.mark.parametrize("code", [0, 3, 255])
def test_its_status_is_ours(code: int) -> None:
    assert run("sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_signal_is_told_as_shells_do(number: signal.Signals) -> None:
    assert run("sh", "-c", f"kill -{int(number)} $$").returncode == 128 + number


def test_an_unknown_program_is_refused_before_anything_else() -> None:
    with pytest.raises(ExitError, match="no program no-such-client") as refused:
        job.check(["no-such-client", "{uri}"])
    assert refused.value.code == "client_not_found"


def test_a_program_that_can_not_be_started_is_told(tmp_path: Path) -> None:
    path = tmp_path / "client"
    path.write_bytes(b"\x7fELF and then nothing")
    path.chmod(0o755)
    done = run(str(path))
    assert "could not be started" in done.stderr
    assert done.returncode == 1


def test_a_session_that_ends_ends_its_client(cue: Path) -> None:
    with subprocess.Popen(
        argv("end", "sleep", "1000"), env={**os.environ, "CUE": str(cue)}, start_new_session=True
    ) as process:
        cue.write_text("now\n")
        assert process.wait(20) == 7


def test_a_local_proxy_that_dies_takes_its_client_along(cue: Path) -> None:
    script = 'echo "$$"; exec sleep 1000'
    environment = {**os.environ, "CUE": str(cue)}
    with subprocess.Popen(
        argv("die", "sh", "-c", script), env=environment, start_new_session=True, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        client = int(process.stdout.readline())
        cue.write_text("now\n")
        assert process.wait(20) == 1
        with pytest.raises(ProcessLookupError):
            os.kill(client, 0)


def test_a_local_proxy_that_is_stopped_and_goes_on_ends_nothing() -> None:
    script = 'echo "$$"; exec cat'
    with subprocess.Popen(
        argv("serve", "sh", "-c", script),
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        client = process.stdout.readline().strip()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        [proxy] = set(children) - {client}
        os.kill(int(proxy), signal.SIGSTOP)
        while " T " not in Path(f"/proc/{proxy}/stat").read_text():
            os.sched_yield()
        os.kill(int(proxy), signal.SIGCONT)
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_who_ends_us_ends_the_client(number: signal.Signals) -> None:
    """Without a terminal SIGINT is passed on, as Ctrl+C would have come."""
    script = 'echo "$$"; exec sleep 1000'
    with subprocess.Popen(
        argv("serve", "sh", "-c", script), start_new_session=True, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        client = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(20) == 128 + (number if number is signal.SIGINT else signal.SIGTERM)
        with pytest.raises(ProcessLookupError):
            os.kill(client, 0)


# --- the terminal


def test_ctrl_c_is_the_clients_own(terminal: StartTerminal) -> None:
    screen = terminal(*argv("serve", sys.executable, "-c", CLIENT))
    groups = screen.expect(r"group (\d+) of (\d+) front (\d+) (\d+)")
    group, client, front, front_group = map(int, groups.groups())
    assert group == client == screen.foreground()
    assert front_group != group
    assert front == screen.pid
    for _ in range(2):
        screen.type(CTRL_C)
        screen.expect("client interrupted")
    screen.type("words\n")
    screen.expect("said words")
    screen.type("\x04")
    assert screen.wait() == 0
    assert "interrupt" not in screen.screen.replace("client interrupted", "")


def test_ctrl_z_suspends_the_client_and_gives_the_shell_its_terminal(terminal: StartTerminal, tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("exec " + " ".join(f"'{word}'" for word in argv("serve", sys.executable, "-c", CLIENT)) + "\n")
    shell = terminal("bash", "--norc", "-i", PS1="READY> ")
    shell.expect("READY> ")
    shell.type(f"sh {script}\n")
    shell.expect("group")
    for number in range(2):
        shell.type(CTRL_Z)
        shell.expect("Stopped")
        shell.type(f"echo in the shell {number}\n")
        shell.expect(f"\nin the shell {number}")
        shell.type("fg\n")
        shell.expect(r"sh \S+job\.sh")
        shell.type(f"words {number}\n")
        shell.expect(f"said words {number}")
    shell.type(CTRL_C)
    shell.expect("client interrupted")
    shell.type("\x04")
    shell.expect("READY> ")
    shell.type("echo status $?\n")
    shell.expect("\nstatus 0")


def test_a_suspended_client_is_ended_with_its_session(terminal: StartTerminal, tmp_path: Path, cue: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("exec " + " ".join(f"'{word}'" for word in argv("end", sys.executable, "-c", CLIENT)) + "\n")
    shell = terminal("bash", "--norc", "-i", PS1="READY> ", CUE=str(cue))
    shell.expect("READY> ")
    shell.type(f"sh {script}\n")
    client = int(shell.expect(r"group (\d+)")[1])
    shell.type(CTRL_Z)
    shell.expect("Stopped")
    cue.write_text("now\n")
    shell.expect("heard .*exited")
    with pytest.raises(ProcessLookupError):
        os.kill(client, 0)
    shell.type("wait %1; echo status $?\n")
    shell.expect("status 7")


def test_in_a_pipeline_the_terminal_is_everybodys(terminal: StartTerminal) -> None:
    """A pager behind us reads the keyboard: a group of the client's own would lock it out."""
    words = " ".join(f"'{word}'" for word in argv("serve", sys.executable, "-c", CLIENT))
    shell = terminal("bash", "--norc", "-c", f"trap '' INT; {words} | cat")
    groups = shell.expect(r"group (\d+) of (\d+) front (\d+) (\d+)")
    group, client, _, front_group = map(int, groups.groups())
    assert group == front_group == shell.foreground() != client
    shell.type("words\n")
    shell.expect("said words")
    shell.type(CTRL_C)
    shell.expect("client interrupted")


def test_a_terminal_is_left_as_it_was_found(terminal: StartTerminal) -> None:
    script = "stty -echo -icanon; kill -9 $$"
    words = " ".join(f"'{word}'" for word in argv("serve", "sh", "-c", script))
    shell = terminal("bash", "--norc", "-c", f"{words}; stty -a")
    modes = shell.expect(r"isig[^;]*echok")[0]
    assert " icanon" in modes
    assert " echo " in modes
