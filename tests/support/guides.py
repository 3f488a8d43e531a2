"""The code blocks of the documents, and a reader who does what a guide says, block by block.

What becomes of a block is said by its language and the words after it (which no page shows):

| info string | the reader |
|---|---|
| `sh` | runs it as one shell script, which must end with 0; `exits=1` says otherwise (of its last command) |
| `console` | runs each line after `$ `, and compares what stands below it with what is printed |
| `python` | runs it as a program |
| `... file=NAME` | saves it under this name, to be used by what follows |
| `sh background until="words"` | starts it, awaits these words, and ends it with SIGINT at the next heading |
| `... not-run="reason"` | does nothing, for this reason |
| `text`, `mermaid` | looks at it |

Any other block is an error, so none is left out in silence. In expected output `...` stands for anything, and numbers,
times, ids, addresses and offsets may differ.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.support.eventually import eventually

GUIDES = ("README.md", "docs/operate.md", "docs/bureau.md", "docs/integrate.md", "docs/audit.md")
LOOKED_AT = {"text", "mermaid"}
_RUN = {"sh", "console", "python"}
_WORDS = {"file", "background", "until", "exits", "not-run"}
_FENCE = re.compile(r"^```")
_VARIES = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{16,}\b|\d{4}-\d\d-\d\dT[\d:.]+(?:[+-]\d\d:\d\d|Z)?"
    r"|(?<=/)\d+/\d+\b|127\.0\.0\.1:\d+|(?<![\w-])\d[\d,.]*(?![\w-])"
)
_SHELL = "/bin/bash"
_COMMAND_SECONDS = 300.0
_READY_SECONDS = 120.0
_ENDED_SECONDS = 60.0
_ENDS = {0, 130, -signal.SIGINT}
"""By itself; as a program says that it was interrupted; as one that does not care."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A code block, and where it stands."""

    place: str
    """`docs/bureau.md:30`, the line of its first fence."""
    section: int
    """How many headings stand before it."""
    language: str
    words: Mapping[str, str]
    """What its info string says beside the language: `file=a.py` is `{"file": "a.py"}`."""
    body: str

    @classmethod
    def marked(cls, info: str, *, place: str, section: int, body: str) -> Block:
        """Read an info string.

        Raises:
            ValueError: it says nothing that a reader could do; names the place.
        """
        language, *rest = shlex.split(info) or [""]
        words = {name: value for name, _, value in (word.partition("=") for word in rest)}
        block = cls(place=place, section=section, language=language, words=words, body=body)
        if unknown := words.keys() - _WORDS:
            raise ValueError(f"{place}: unknown words in the info string: {', '.join(sorted(unknown))}")
        if "not-run" in words and not words["not-run"]:
            raise ValueError(f"{place}: not-run needs a reason")
        if not ({"file", "not-run"} & words.keys() or language in LOOKED_AT | _RUN):
            raise ValueError(f"{place}: {language or 'a block without language'} is neither run nor marked")
        return block


def blocks(document: Path, root: Path) -> list[Block]:
    """Return the code blocks of a document, in order.

    Raises:
        ValueError: one is neither run nor marked, or a fence is not at the beginning of a line.
    """
    found: list[Block] = []
    section, info, held = 0, None, list[str]()
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
        if info is None:
            section += line.startswith("#")
            if _FENCE.match(line):
                info, opened, held = line.removeprefix("```"), number, []
            elif "```" in line:
                raise ValueError(f"{document}:{number}: a fence begins its line")
        elif line == "```":
            place = f"{document.relative_to(root)}:{opened}"
            found.append(Block.marked(info, place=place, section=section, body="".join(held)))
            info = None
        else:
            held.append(f"{line}\n")
    if info is not None:
        raise ValueError(f"{document}: the last block has no end")
    return found


def same(expected: str, printed: str) -> bool:
    """Whether output is what a guide shows, its fixed parts: see the module."""
    lines = [_VARIES.sub("#", line.rstrip()) for line in expected.splitlines()]
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(re.escape("..."), ".*") + r"\n" for line in lines
    )
    text = "".join(f"{_VARIES.sub('#', line.rstrip())}\n" for line in printed.splitlines())
    return re.fullmatch(pattern, text) is not None


def commands(body: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output shown for it."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


@dataclass(kw_only=True)
class Background:
    """A block that never ends, as a process group of its own."""

    block: Block
    process: subprocess.Popen[bytes]
    log: Path

    def printed(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def await_ready(self) -> None:
        """Wait for the words that its block names."""

        def said() -> bool:
            assert self.process.poll() is None, f"{self.block.place} ended: {self.printed()[-4000:]}"
            return self.block.words["until"] in " ".join(self.printed().split())

        eventually(said, seconds=_READY_SECONDS, what=f"{self.block.place} says {self.block.words['until']!r}")

    def end(self) -> None:
        """Ctrl-C; it must end then."""
        try:
            assert self.process.poll() is None, f"{self.block.place} ended: {self.printed()[-4000:]}"
            os.killpg(self.process.pid, signal.SIGINT)
            code = self.process.wait(_ENDED_SECONDS)
            assert code in _ENDS, f"{self.block.place}: exit code {code}: {self.printed()[-4000:]}"
        finally:
            self.kill()

    def kill(self) -> None:
        """End it if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Reader:
    """Does what guides say.

    Args:
        folder: where the reader stands: the working directory of every block.
        environment: of every block.
        running: what somebody has started already, by its text: where a guide says so again, nothing is done.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], *, running: frozenset[str] = frozenset()) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._running = running
        folder.mkdir(parents=True, exist_ok=True)

    def follow(self, found: list[Block]) -> None:
        """Do what each block says, in order.

        Raises:
            AssertionError: one did not do what the guide says; names its place.
        """
        section = 0
        with ExitStack() as started:
            for block in found:
                if block.section != section:
                    started.close()
                    section = block.section
                if "background" in block.words and block.body not in self._running:
                    started.callback(self.start(block).end)
                elif "background" not in block.words:
                    self.do(block)

    def do(self, block: Block) -> None:
        """Do what a block says that ends."""
        if "not-run" in block.words or block.language in LOOKED_AT:
            return
        if "file" in block.words:
            self._save(block)
        elif block.language == "console":
            for command, output in commands(block.body):
                printed = self._run(block, [_SHELL, "-ec", command])
                assert same(output, printed), f"{block.place}: shows\n{output}\nand it printed\n{printed}"
        elif block.language == "python":
            program = self._folder / f"block_{block.place.rpartition(':')[2]}.py"
            program.write_text(block.body, encoding="utf-8")
            self._run(block, [sys.executable, program.name])
        else:
            self._run(block, [_SHELL, "-ec", block.body])

    def start(self, block: Block) -> Background:
        """Start a block that never ends, and wait until it is ready."""
        log = self._folder / f"block_{block.place.rpartition(':')[2]}.out"
        # Where the tests run in the background of a shell, SIGINT is ignored, and a child would inherit that. A handler
        # is not inherited.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with log.open("wb") as out:
                process = subprocess.Popen(
                    [_SHELL, "-ec", block.body],
                    cwd=self._folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        finally:
            signal.signal(signal.SIGINT, before)
        background = Background(block=block, process=process, log=log)
        try:
            background.await_ready()
        except BaseException:
            background.kill()
            raise
        return background

    def _save(self, block: Block) -> None:
        path = self._folder / block.words["file"]
        path.write_text(block.body, encoding="utf-8")
        if block.body.startswith("#!"):
            path.chmod(0o755)

    def _run(self, block: Block, argv: list[str]) -> str:
        ended = subprocess.run(
            argv,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        expected = int(block.words.get("exits", 0))
        said = f"{block.place}: exit code {ended.returncode}, not {expected}\n{argv[-1]}\n{ended.stdout[-4000:]}"
        assert ended.returncode == expected, said
        return ended.stdout
