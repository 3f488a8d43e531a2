"""The command `noticewire`: one file per subcommand beside this one."""

from __future__ import annotations

import importlib
import sys

import typer

from broker.cli import context

app = typer.Typer(
    name="noticewire",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # a traceback with local variables would show personal data
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A broker for police notices and diffusions: carries them to national bureaus over Apache Kafka, knows who"
    " acknowledged what, and can prove its history.",
)

for _module in ("demo", "serve", "publish", "bureau", "status", "explain", "audit", "directory", "topics"):
    importlib.import_module(f"broker.cli.{_module}").register(app)


def main() -> None:
    """Run the command line; exit codes are 0 done, 1 failed, 2 misuse."""
    sys.exit(context.run(app))


if __name__ == "__main__":
    main()
