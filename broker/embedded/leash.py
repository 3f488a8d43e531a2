"""Start a process that cannot outlive us, not even if we are killed with SIGKILL.

Between us and the process stands a small Python, the *leash*. It holds one end of a pipe whose other end only we hold:
when we are gone, however it happened, the pipe closes and the leash kills its whole process group. On Linux the kernel
also kills the child if the leash itself is killed (PR_SET_PDEATHSIG).

Both live in a session of their own. So Ctrl-C, which the terminal sends to every process in the foreground, reaches
only us, and we can stop what we started in the right order.

This file is both the library (`spawn`) and the leash (run as a script); therefore it imports the standard library only
and starts in some 20 ms.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG = 1

_ORPHAN_CHECK_SECONDS = 1.0
"""How often the leash looks whether its parent is still the same. Only needed where some other process has inherited
our end of the pipe by a fork without exec, which keeps it open after us."""


class Leashed:
    """A running process, with the methods of `subprocess.Popen` that matter here.

    Attributes:
        pid: the process itself, not the leash: what a test would kill.
    """

    def __init__(self, leash: subprocess.Popen[bytes], lifeline: int, pid: int) -> None:
        self._leash = leash
        self._lifeline: int | None = lifeline
        self._letting_go = threading.Lock()  # a descriptor closed twice may by then be somebody else's
        self.pid = pid

    @property
    def returncode(self) -> int | None:
        """As Popen has it: None while it runs, negative for the signal that ended it."""
        return self.poll()

    def poll(self) -> int | None:
        """The exit code if it has ended; the leash ends in the same way as its child."""
        code = self._leash.poll()
        if code is not None:
            self._let_go()
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        code = self._leash.wait(timeout)
        self._let_go()
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal to the process itself; nothing happens if it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended a moment ago, and the leash is about to say so
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM)."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self.send_signal(signal.SIGKILL)

    def kill_group(self) -> None:
        """End it and whatever it has started in its group, at once."""
        self._let_go()

    def stop(self, patience_seconds: float) -> int:
        """SIGTERM, then SIGKILL if it has not ended in time; idempotent.

        Returns:
            The exit code; nothing of it runs once this returns.
        """
        self.terminate()
        try:
            return self.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait()

    def _let_go(self) -> None:
        with self._letting_go:
            if self._lifeline is not None:
                os.close(self._lifeline)
                self._lifeline = None


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> Leashed:
    """Start `argv` on a leash: it ends when this process ends, whatever ends it.

    Args:
        argv: program and arguments.
        env: the environment; this process's own by default.
        cwd: the working directory.
        stdin: as for Popen; nothing by default, since the process is not in the foreground.
        stdout: as for Popen.
        stderr: as for Popen.
        pass_fds: descriptors that the process keeps open, such as a lock that is to last as long as it does.

    Returns:
        The running process; its program has been loaded.

    Raises:
        OSError: the program could not be started (not there, not executable).
    """
    leash_end, lifeline = os.pipe()
    status, status_end = os.pipe()
    try:
        leash = subprocess.Popen(  # noqa: S603 - running what the caller names is the purpose
            [sys.executable, "-I", "-S", __file__, str(leash_end), str(status_end), str(os.getpid()), *map(str, argv)],
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(leash_end, status_end, *pass_fds),
            start_new_session=True,
        )
    except BaseException:
        os.close(lifeline)
        os.close(status)
        raise
    finally:
        os.close(leash_end)
        os.close(status_end)
    try:
        with os.fdopen(status, encoding="ascii") as reader:
            words = reader.read().split()  # until the program is loaded: that closes the last copy of the other end
    except BaseException:  # Ctrl-C: closing the lifeline ends what has been started
        os.close(lifeline)
        raise
    said = dict(zip(words[::2], map(int, words[1::2]), strict=True))  # leash and child speak in either order
    if "pid" in said and "errno" not in said:
        return Leashed(leash, lifeline, said["pid"])
    number = said.get("errno", errno.ECHILD)
    os.close(lifeline)
    leash.wait()
    raise OSError(number, os.strerror(number), str(argv[0]))


# ------------------------------------------------------------------------------------------- what runs as the leash


def _exec(argv: list[str], leash_pid: int, status: int) -> NoReturn:
    """In the forked child: tie it to the leash, then become the program."""
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != leash_pid:  # the leash died before the call above
                os._exit(1)
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is the point
    except OSError as error:
        os.write(status, f"errno {error.errno} ".encode())
    finally:
        os._exit(127)


def _end_like(code: int) -> NoReturn:
    """End in the way that the child ended, so that whoever waits for the leash learns it."""
    if code < 0:
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 1)


def _main(lifeline: int, status: int, parent: int, argv: list[str]) -> NoReturn:
    """Hold the child until it ends, or the other end of the lifeline closes."""
    os.set_inheritable(lifeline, False)
    os.set_inheritable(status, False)
    awake, waker = os.pipe()
    os.set_blocking(waker, False)
    me = os.getpid()
    child = os.fork()
    if child == 0:
        _exec(argv, me, status)
    os.write(status, f"pid {child} ".encode())
    os.close(status)

    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: os.kill(child, received))

    while True:
        ended, state = os.waitpid(child, os.WNOHANG)
        if ended:
            _end_like(os.waitstatus_to_exitcode(state))
        ready, _, _ = select.select([lifeline, awake], [], [], _ORPHAN_CHECK_SECONDS)
        if lifeline in ready or os.getppid() != parent:
            os.killpg(me, signal.SIGKILL)  # the child, whatever it started in this group, and the leash itself
        if awake in ready:
            os.read(awake, 512)


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
