"""A bureau's own programs take its deliveries: one process for each, or one that is kept open.

They run on a leash (`broker.embedded.leash`): whatever ends us ends them. What they print to standard error goes to
ours. A delivery goes to standard input only, never to arguments or the environment, which every user can read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta

from broker.embedded import leash
from broker.errors import InvalidFieldError, MisuseError, UnavailableError
from broker.transport.inbox import Delivery
from consumers.bureau.answers import ANSWER_BYTES_MAX, Answer, parse_answer
from consumers.bureau.letter import as_json

TIME_OUT = timedelta(seconds=60)
"""How long a program may take for one delivery, before it is ended and counts as having failed."""

_TAKEN = Answer()
_ENDS_WITHIN_SECONDS = 5.0
"""After its standard input has closed; a program that is kept open sees the end and finishes."""


class OneProcessEach:
    """Starts a program for each delivery: JSON on standard input; exit code 0 says that it was taken.

    Args:
        argv: the program and its arguments; no shell reads them.
        time_out: for one delivery.
    """

    def __init__(self, argv: Sequence[str], *, time_out: timedelta = TIME_OUT) -> None:
        self._argv = argv
        self._time_out = time_out

    async def take(self, delivery: Delivery) -> Answer:
        """Hand a delivery over.

        Raises:
            UnavailableError: it was not taken: another exit code, no answer in time.
            MisuseError: there is no such program.
        """
        reading, writing = os.pipe()
        try:
            process = await _spawned(self._argv, stdin=reading, stdout=None)
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        feeding = asyncio.create_task(asyncio.to_thread(_write_and_close, writing, _line(delivery)))
        try:
            code = await asyncio.to_thread(process.wait, self._time_out.total_seconds())
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"the program gave no answer within {self._time_out}") from None
        finally:
            process.kill_group()  # and whoever still writes to it gets a broken pipe
            await asyncio.gather(feeding, asyncio.to_thread(process.wait))
        if code != 0:
            raise UnavailableError(f"the program ended with {code}")
        return _TAKEN

    async def close(self) -> None:
        """Nothing is kept."""


class OneProcessForAll:
    """Keeps one program open: a delivery a line on its standard input, an answer a line on its standard output.

    One delivery at a time, so an answer belongs to the delivery before it; its `id` proves that. A program that dies,
    is late or answers nonsense is ended and, with the next delivery, started again: nobody can tell any more which of
    its lines belong to what.

    Args:
        argv: the program and its arguments; no shell reads them.
        time_out: for one delivery.
    """

    def __init__(self, argv: Sequence[str], *, time_out: timedelta = TIME_OUT) -> None:
        self._argv = argv
        self._time_out = time_out
        self._process: leash.Leashed | None = None
        self._writing = -1
        self._answers: asyncio.StreamReader | None = None
        self._transport: asyncio.ReadTransport | None = None

    async def take(self, delivery: Delivery) -> Answer:
        """Hand a delivery over, and wait for the answer.

        Raises:
            UnavailableError: it was not taken, or nobody can tell.
            MisuseError: there is no such program.
        """
        if self._process is None:
            await self._start()
        try:
            answer = await self._asked(delivery)
        except BaseException:
            await self._end(patience_seconds=0)
            raise
        if answer.error is not None:
            raise UnavailableError("the program answered that it has not taken it")
        return answer

    async def close(self) -> None:
        """Close the program's standard input, and wait until it has finished."""
        await self._end(patience_seconds=_ENDS_WITHIN_SECONDS)

    async def _asked(self, delivery: Delivery) -> Answer:
        assert self._answers is not None  # noqa: S101 - `take` has started it
        writing = asyncio.create_task(asyncio.to_thread(_write, self._writing, _line(delivery)))
        try:
            async with asyncio.timeout(self._time_out.total_seconds()):
                line = await self._answers.readline()
                if line.endswith(b"\n"):
                    await asyncio.shield(writing)
        except TimeoutError:
            raise UnavailableError(f"the program gave no answer within {self._time_out}") from None
        except ValueError:
            raise UnavailableError("the program's answer has no end") from None
        finally:
            if not writing.done() and self._process is not None:
                self._process.kill_group()  # it does not read: only its end gets the writer out of the pipe
            with contextlib.suppress(asyncio.CancelledError):
                await writing
        if not line.endswith(b"\n"):
            raise UnavailableError("the program ended without an answer")
        try:
            answer = parse_answer(line)
        except InvalidFieldError as error:
            raise UnavailableError(f"the program answered nonsense: {error}") from None
        if answer.id != delivery.id:
            raise UnavailableError("the program answered about another delivery")
        return answer

    async def _start(self) -> None:
        reading, self._writing = os.pipe()
        answering, answer_end = os.pipe()
        try:
            self._process = await _spawned(self._argv, stdin=reading, stdout=answer_end)
        except BaseException:
            os.close(self._writing)
            os.close(answering)
            raise
        finally:
            os.close(reading)
            os.close(answer_end)
        loop = asyncio.get_running_loop()
        self._answers = answers = asyncio.StreamReader(limit=ANSWER_BYTES_MAX)
        self._transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(answers), os.fdopen(answering, "rb", buffering=0)
        )

    async def _end(self, *, patience_seconds: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        os.close(self._writing)
        try:
            await asyncio.to_thread(process.wait, patience_seconds)
        except subprocess.TimeoutExpired:
            process.kill_group()
            await asyncio.to_thread(process.wait)
        if self._transport is not None:
            self._transport.close()


async def _spawned(argv: Sequence[str], *, stdin: int, stdout: int | None) -> leash.Leashed:
    """Start a program; without a `stdout` of its own it prints to our standard error, as ours is for our lines.

    Raises:
        MisuseError: it cannot be started.
    """
    errors = sys.stderr.fileno() if _has_fileno() else subprocess.DEVNULL
    out = errors if stdout is None else stdout
    try:
        return await asyncio.to_thread(leash.spawn, argv, stdin=stdin, stdout=out, stderr=errors)
    except OSError as error:
        raise MisuseError(f"{argv[0]} cannot be started ({error.strerror})") from None


def _has_fileno() -> bool:
    try:
        sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):  # somebody has put another object in its place
        return False
    return True


def _line(delivery: Delivery) -> bytes:
    return json.dumps(as_json(delivery), ensure_ascii=False).encode() + b"\n"


def _write(to: int, data: bytes) -> None:
    """Write all of it; a program that has gone, or does not care to read, is judged by its answer."""
    at = 0
    with contextlib.suppress(BrokenPipeError):
        while at < len(data):
            at += os.write(to, data[at:])


def _write_and_close(to: int, data: bytes) -> None:
    try:
        _write(to, data)
    finally:
        os.close(to)
