"""Waiting is said: lines in logs, a bar on a terminal that estimates nothing yet, and that something is compiled."""

import io
import sys
import time

import jax.numpy as jnp
import pytest

from uqdm.cli.progress import Progress, _Announcement, announce_compilation
from uqdm.exact import programs


class Terminal(io.StringIO):
    """What takes itself for one."""

    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_now_and_then_and_no_carriage_return(capsys):
    now = [0.0]
    with Progress(40, "encode", "file", clock=lambda: now[0]) as bar:
        for _ in range(40):
            now[0] += 3.0
            bar.update()
        bar.say("a note")
    lines = capsys.readouterr().err
    assert "\r" not in lines
    assert lines.splitlines() == [*(f"encode: {done} of 40 files" for done in range(4, 40, 4)), "a note"]


def test_work_of_seconds_leaves_no_line_in_a_log(capsys):
    with Progress(28, "encode", clock=lambda: 1.0) as bar:
        for _ in range(28):
            bar.update()
    assert capsys.readouterr().err == ""


def test_a_bar_estimates_nothing_before_three_steps(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(10, "encode") as bar:
        time.sleep(1.1)  # until then a bar is not worth showing
        shown = []
        for _ in range(5):
            time.sleep(0.15)
            bar.update()
            shown.append(terminal.getvalue())
            terminal.truncate(0)
    assert "1/10 [00:01]" in shown[0]
    assert not any("<" in text for text in shown[:2])
    assert "5/10" in shown[4]
    assert "<" in shown[4]


def _double(factor, x):
    return (x * factor,)


def test_only_what_is_really_compiled_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("UQDM_CACHE", str(tmp_path))
    monkeypatch.setattr(programs, "_promises", {})
    monkeypatch.setattr(programs, "_sources", lambda module: "")  # of a package, which a test is not in
    called = []
    monkeypatch.setattr(programs, "on_compile", [lambda: called.append(1)])
    for _ in range(2):
        programs.run(_double, (3,), jnp.ones(5))
    assert len(called) == 1, "the second time it is ready in memory"
    monkeypatch.setattr(programs, "_promises", {})
    programs.run(_double, (3,), jnp.ones(5))
    assert len(called) == 1, "and in a new process, in the folder"
    programs.run(_double, (3,), jnp.ones(6))
    assert len(called) == 2


@pytest.mark.parametrize(("cache", "said"), [("off", ""), ("folder", " (once)")])
def test_a_compilation_is_said_once(cache, said, monkeypatch, capsys):
    monkeypatch.setenv("UQDM_CACHE", cache)
    announce = _Announcement()
    announce()
    announce()
    assert capsys.readouterr().err == f"compiling for this machine{said}\n"


def test_commands_listen_once(monkeypatch):
    monkeypatch.setattr(programs, "on_compile", [])
    announce_compilation()
    announce_compilation()
    assert len(programs.on_compile) == 1
