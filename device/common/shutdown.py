"""Ends the process: on signals, and without a crash of a thread in a driver."""

import contextlib
import logging
import os
import signal
import sys
import threading

_UNSTOPPABLE = {signal.SIGKILL, signal.SIGSTOP}
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS}
"""signals of a crash: a handler would return to the same fault"""
_HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}


def stop_on_signals() -> threading.Event:
    """An event that is set by every signal that would end the process, or stop it with a gate open as Ctrl-Z does.

    A signal that is ignored, as SIGHUP under `nohup`, or that has another handler stays as it is. SIGKILL and SIGSTOP cannot be handled.
    """
    stop = threading.Event()
    for number in signal.valid_signals() - _UNSTOPPABLE - _CRASHES - _HARMLESS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, lambda *_: stop.set())
    return stop


def driver_thread_alive() -> bool:
    """Whether a daemon thread is left, which may be inside a driver."""
    return any(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())


def exit_now(status: int) -> None:
    """End the process at once where a thread may be inside a driver; else return.

    Before Python 3.14 the interpreter at its end kills such a thread when it returns from the driver. In C++ that is `terminate called`, exit
    status 134.
    """
    if not driver_thread_alive():
        return
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
