"""`noticewire schema`: what is written on the wire, how versions differ, and whether a change may be made."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.context import FAILED, DataOption, JsonOption, load_context, print_json
from broker.errors import MisuseError
from broker.schema.catalogue import SHIPPED, Catalogue, SchemaVersion
from broker.schema.differences import Change, Difference, differences
from broker.schema.folder import check_folder
from broker.schema.reference import reference
from broker.schema.registry import register as put
from broker.schema.rules import Breach
from broker.schema.shape import Shape

app = typer.Typer(no_args_is_help=True, help="The Avro schemas of what is on the wire, and whether they may change so.")

FolderOption = Annotated[
    Path | None,
    typer.Option("--folder", metavar="DIR", help="Another folder like schemas/avro: a proposal, say."),
]

_LINES = {
    Change.ADDED: "+ {path}: {new}",
    Change.REMOVED: "- {path}: {old}",
    Change.RENAMED: "~ {path}: was called {old}",
    Change.TYPE: "~ {path}: type {old} became {new}",
    Change.LOGICAL_TYPE: "~ {path}: type {old} became {new}",
    Change.TYPE_NAME: "~ {path}: type name {old} became {new}",
    Change.DEFAULT: "~ {path}: default {old} became {new} (read where a record lacks the field; allowed)",
    Change.ENUM_DEFAULT: "~ {path}: default symbol {old} became {new} (read for a later symbol; allowed)",
    Change.SYMBOL_ADDED: "+ {path}: symbol {new}",
    Change.SYMBOL_REMOVED: "- {path}: symbol {old}",
    Change.BRANCH_ADDED: "+ {path}: branch {new}",
    Change.BRANCH_REMOVED: "- {path}: branch {old}",
}


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.add_typer(app, name="schema")


@app.command("check")
def check(*, folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Prove that all versions of each subject read one another; exits with 1 if any does not, and says what to do.

    Example: noticewire schema check
    """
    place = _place(folder)
    breaches = check_folder(place)
    if as_json:
        print_json({"compatible": not breaches, "breaches": [_plain(one) for one in breaches]})
    else:
        for one in breaches:
            typer.echo(_told(one))
        if not breaches:
            typer.echo(_summary(Catalogue.load(place)))
    if breaches:
        raise typer.Exit(FAILED)


@app.command("list")
def show(*, folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """List every version of every schema, with its id on the wire and its fingerprint (Avro's CRC-64).

    Example: noticewire schema list
    """
    catalogue = Catalogue.load(_place(folder))
    rows = [_row(one) for subject in catalogue.subjects() for one in catalogue.versions(subject)]
    if as_json:
        print_json(rows)
        return
    typer.echo(f"{'subject':<18} {'version':>7} {'id':>6} {'fields':>6}  fingerprint")
    for row in rows:
        typer.echo("{subject:<18} {version:>7} {id:>6} {fields:>6}  {fingerprint}".format(**row))


@app.command("diff")
def diff(
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="As `noticewire schema list` shows it.")],
    older: Annotated[int | None, typer.Argument(metavar="FROM", help="Otherwise the one before TO.")] = None,
    newer: Annotated[int | None, typer.Argument(metavar="TO", help="Otherwise the newest.")] = None,
    *,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what differs between two versions of a schema, field by field.

    Example: noticewire schema diff notice 1 2
    """
    catalogue = Catalogue.load(_place(folder))
    new = _version(catalogue, subject, newer)
    old = _version(catalogue, subject, max(new.version - 1, 1) if older is None else older)
    found = differences(_shape(old), _shape(new))
    if as_json:
        changes = [{"path": one.path, "change": one.change, "old": one.old, "new": one.new} for one in found]
        print_json({"subject": subject, "from": old.version, "to": new.version, "differences": changes})
        return
    typer.echo(f"{subject}: from v{old.version} to v{new.version}")
    for one in found:
        typer.echo(_line(one))
    if not found:
        typer.echo("  nothing differs but words" if old is not new else "  it has no other version")


OutputOption = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="Write it there; otherwise to standard output.")
]


@app.command("asyncapi")
def asyncapi(*, output: OutputOption = None) -> None:
    """Describe the whole interface as an AsyncAPI 3 document: channels, messages, headers, examples.

    Example: noticewire schema asyncapi --output docs/asyncapi.yaml
    """
    interface = importlib.import_module("broker.gateway.asyncapi")  # by name: it loads what no other command needs
    _write(interface.as_yaml(interface.document(Catalogue.load())), output)


@app.command("reference")
def as_reference(*, output: OutputOption = None) -> None:
    """Describe every field of every record, in Markdown: meaning, source, and since which version.

    Example: noticewire schema reference --output docs/reference.md
    """
    _write(reference(Catalogue.load()), output)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise MisuseError(f"--output {output}: {error.strerror}") from error


@app.command("register")
def to_registry(*, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Register every version in the schema registry that the settings name, and keep the ids that it gave.

    What is there already stays as it is, so this may be run again, and is to be run before each upgrade.
    Example: noticewire schema register --data ./data
    """
    context = load_context(data)
    catalogue = Catalogue.load()
    done = put(context.settings.schema_registry, context.data, catalogue=catalogue, prefix=context.kafka.prefix)
    if as_json:
        print_json({"subjects": done.subjects, "ids": done.ids.written, "unsettled": done.unsettled})
        return
    for one in catalogue:
        typer.echo(f"{one.subject:<18} {one.version:>7} {done.ids.on_the_wire(one.id):>6}")
    typer.echo(f"{len(done.ids.written)} versions under {len(done.subjects)} subjects, each FULL_TRANSITIVE")
    if done.unsettled:
        typer.echo(f"but not of these, where the registry does not let us say so: {' '.join(done.unsettled)}")


def _place(folder: Path | None) -> Traversable:
    return SHIPPED if folder is None else folder


def _shape(version: SchemaVersion) -> Shape:
    return Shape(version.text, label=str(version))


def _version(catalogue: Catalogue, subject: str, number: int | None) -> SchemaVersion:
    newest = catalogue.newest(subject)
    if number is None:
        return newest
    if not 1 <= number <= newest.version:
        raise MisuseError(f"{subject} has no version {number}; its newest is {newest.version}")
    return catalogue.versions(subject)[number - 1]


def _row(version: SchemaVersion) -> dict[str, Any]:
    shape = _shape(version)
    return {
        "subject": version.subject,
        "version": version.version,
        "id": version.id,
        "fields": shape.field_count(),
        "fingerprint": shape.fingerprint(),
    }


def _summary(catalogue: Catalogue) -> str:
    counts = [len(catalogue.versions(subject)) for subject in catalogue.subjects()]
    pairs = sum(count * (count - 1) // 2 for count in counts)
    return f"{len(counts)} subjects, {sum(counts)} versions: each reads every other of its subject ({pairs} pairs)"


def _plain(breach: Breach) -> dict[str, Any]:
    return {**asdict(breach), "rule_text": breach.rule.sentence}


def _told(breach: Breach) -> str:
    versions = " and ".join(f"v{version}" for version in breach.versions)
    where = " ".join(part for part in (breach.subject, versions, breach.path) if part)
    return (
        f"{where + ': ' if where else ''}{breach.problem}\n  rule:    {breach.rule.sentence}\n"
        f"  instead: {breach.instead}"
    )


def _line(one: Difference) -> str:
    words = _LINES[one.change].format(path=one.path or "(the whole)", old=one.old or "none", new=one.new or "none")
    return f"  {words}"
