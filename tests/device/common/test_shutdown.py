"""Signals that stop a command, compared with what the kernel does by default; and an exit without a crash."""

import ast
import os
import signal
import subprocess
import sys

SIGNALS = """
import os, signal
from device.common.shutdown import stop_on_signals
deadly = set()
for number in signal.valid_signals():
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # the kernel discards SIGTSTP in a process group without a parent, as below a CI run
        if number not in (signal.SIGKILL, signal.SIGSTOP) and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        os._exit(0)
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if os.WIFSTOPPED(status) or os.WIFSIGNALED(status):
        deadly.add(int(number))
stop_on_signals()
unhandled = {number for number in deadly if signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN, None)}
print(sorted(deadly), sorted(unhandled), sep="\\n")
"""
A_DRIVER = """
import sys, threading, time
import cv2
import numpy as np
from device import cli
from device.commands import events
def camera():
    big = np.zeros((1500, 1500, 3), np.uint8)
    while True:
        cv2.GaussianBlur(big, (31, 31), 9)
def run(arguments):
    threading.Thread(target=camera, daemon=True).start()
    time.sleep(0.1)
    print("sorted 3 items")
    {end}
events.run = run
sys.argv = ["sortbin", "events"]
sys.exit(cli.main())
"""


def ran(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False, env=os.environ)


def test_every_signal_that_ends_a_process_sets_the_event() -> None:
    done = ran(SIGNALS)
    deadly, unhandled = (set(ast.literal_eval(line)) for line in done.stdout.splitlines())
    assert {signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGKILL} <= deadly
    faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS}
    assert unhandled == faults | {signal.SIGKILL, signal.SIGSTOP}


def test_a_thread_in_a_driver_does_not_change_the_exit_status() -> None:
    for _ in range(3):
        done = ran(A_DRIVER.format(end="return 1"))
        assert (done.returncode, done.stdout, done.stderr) == (1, "sorted 3 items\n", "")


def test_a_crash_with_a_thread_in_a_driver_prints_a_traceback() -> None:
    done = ran(A_DRIVER.format(end="raise ZeroDivisionError('a bug')"))
    assert (done.returncode, done.stdout) == (1, "sorted 3 items\n")
    assert done.stderr.endswith("ZeroDivisionError: a bug\n")
    assert "terminate called" not in done.stderr
