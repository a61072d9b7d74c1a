"""How the process ends: when it is asked to, and without a crash at the very end."""

import contextlib
import logging
import os
import signal
import sys
import threading

_UNSTOPPABLE = {signal.SIGKILL, signal.SIGSTOP}
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS}
"""what the process brings upon itself: a handler would return to the same fault"""
_HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}


def stop_on_signals() -> threading.Event:
    """An event that every signal sets from now on that would end the process or, as Ctrl-Z does, halt it with a gate open.

    A signal that is ignored, as SIGHUP is below `nohup`, or that has another handler stays as it is. Nothing can be done in the process about SIGKILL
    and SIGSTOP.
    """
    stop = threading.Event()
    for number in signal.valid_signals() - _UNSTOPPABLE - _FAULTS - _HARMLESS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, lambda *_: stop.set())
    return stop


def driver_thread_alive() -> bool:
    """Whether a thread is left that may be inside a driver."""
    return any(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())


def exit_now(status: int) -> None:
    """End the process here and now where a thread may still be inside a driver; return where none is.

    Until Python 3.13 the interpreter, when it ends, kills such a thread as it comes back, and in C++ that is `terminate called`, exit status 134.
    """
    if not driver_thread_alive():
        return
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
