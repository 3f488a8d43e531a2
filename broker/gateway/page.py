"""The AsyncAPI document as one page of HTML that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
h1, h2, h3 { line-height: 1.2 } h2 { margin-top: 3rem; border-bottom: 1px solid #ccc } h3 { margin-top: 2rem }
code, pre { font: 13px/1.45 ui-monospace, monospace; background: #f3f4f6; border-radius: 4px }
code { padding: .1em .3em } pre { padding: .8rem; overflow: auto; max-height: 30rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .3rem .6rem }
tr + tr { border-top: 1px solid #e5e7eb } summary { cursor: pointer }
nav li { display: inline-block; margin-right: 1em }
nav ul { padding: 0 } .quiet { color: #57606a }
"""


def page(document: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        document: as `broker.gateway.asyncapi.document` makes it.
    """
    info = document["info"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(info['title'])}: the interface</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        '<p class="quiet">AsyncAPI 3: <a href="../asyncapi.yaml">YAML</a>, <a href="../asyncapi.json">JSON</a></p>',
        _prose(info["description"]),
        "<h2>Channels</h2>",
        _links("channel", document["channels"]),
        *_channels(document),
        "<h2>Messages</h2>",
        _links("message", document["components"]["messages"]),
        *_messages(document),
        "</body></html>",
    ]
    return "\n".join(parts)


def _channels(document: Mapping[str, Any]) -> Iterator[str]:
    operations = {one["channel"]["$ref"].rpartition("/")[2]: one for one in document["operations"].values()}
    for name, channel in document["channels"].items():
        operation = operations[name]
        who = "Noticewire reads this" if operation["action"] == "receive" else "Noticewire writes this"
        yield f'<h3 id="channel-{name}">{escape(channel["title"])}: <code>{escape(channel["address"])}</code></h3>'
        yield _prose(channel["description"])
        yield _prose(f"**{who}.** {operation['summary']}")
        for parameter, said in channel.get("parameters", {}).items():
            values = ", ".join(f"`{one}`" for one in said.get("enum", said.get("examples", ())))
            yield _prose(f"`{{{parameter}}}`: {said['description']} {values}")
        kafka = channel["bindings"]["kafka"]
        settings = ", ".join(f"{key} {json.dumps(value)}" for key, value in kafka["topicConfiguration"].items())
        yield f'<p class="quiet">Partitions: {kafka["partitions"]}. {escape(settings)}</p>'
        known = [one for one in channel["messages"] if one in document["components"]["messages"]]
        if known:
            yield _links("message", known)


def _messages(document: Mapping[str, Any]) -> Iterator[str]:
    components = document["components"]
    for name, message in components["messages"].items():
        yield f'<h3 id="message-{name}">{escape(message["title"])}</h3>'
        yield _prose(message["summary"])
        yield _prose(f"{message['description']} **Key:** {message['bindings']['kafka']['key']['description']}")
        if "headers" in message:
            yield _headers(components["schemas"][message["headers"]["$ref"].rpartition("/")[2]])
        yield _folded("Avro schema", components["schemas"][name]["schema"])
        for example in message["examples"]:
            shown = {part: example[part] for part in ("headers", "payload") if part in example}
            yield _folded(f"Example: {example['name']}", shown)


def _headers(schema: Mapping[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{escape(name)}</code></td><td>{'always' if name in schema['required'] else ''}</td>"
        f"<td>{_inline(said['description'])}{_values(said)}</td></tr>"
        for name, said in schema["properties"].items()
    ]
    return f"<details><summary>Headers</summary><table>{''.join(rows)}</table></details>"


def _values(said: Mapping[str, Any]) -> str:
    values = said.get("enum", [said["const"]] if "const" in said else [])
    return "".join(f" <code>{escape(one)}</code>" for one in values)


def _links(kind: str, names: Mapping[str, Any] | list[str]) -> str:
    items = "".join(f'<li><a href="#{kind}-{name}">{escape(name)}</a></li>' for name in names)
    return f"<nav><ul>{items}</ul></nav>"


def _folded(title: str, value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def _prose(text: str) -> str:
    """Render paragraphs of the little Markdown that the document has: strong words, and code."""
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n"))


def _inline(text: str) -> str:
    strong = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", strong)
