"""The command `noticewire`: one file per subcommand beside this one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import typer

from broker.cli import context

COMMANDS = (
    "demo",
    "up",
    "serve",
    "publish",
    "simulate",
    "import",
    "bureau",
    "status",
    "explain",
    "audit",
    "directory",
    "rejected",
    "relay",
    "topics",
    "backup",
    "restore",
    "doctor",
    "schema",
)
"""Each is a module beside this one, with a function `register`."""

MODULES = {"import": "importing"}
"""Where the command's name is a word of Python."""


def command_line(argv: Sequence[str]) -> typer.Typer:
    """Return the command line, with no more commands loaded than the arguments ask for: all of them take 4 s of CPU."""
    app = typer.Typer(
        name="noticewire",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,  # a traceback with local variables would show personal data
        context_settings={"help_option_names": ["-h", "--help"]},
        help="A broker for police notices and diffusions: carries them to national bureaus over Apache Kafka, knows"
        " who acknowledged what, and can prove its history.",
    )
    app.callback()(_root)  # without it, Typer takes a single command for the whole program
    for name in argv[:1] if argv and argv[0] in COMMANDS else COMMANDS:
        importlib.import_module(f"broker.cli.{MODULES.get(name, name)}").register(app)
    return app


def _root() -> None:
    """Carry police notices and diffusions to national bureaus."""


def main() -> None:
    """Run the command line; exit codes are 0 done, 1 failed, 2 misuse."""
    sys.exit(context.run(command_line(sys.argv[1:])))


if __name__ == "__main__":
    main()
