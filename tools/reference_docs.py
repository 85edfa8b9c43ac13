"""Pages of reference made from the code: docs/commands.md, docs/plan-keys.md and docs/formats.md.

python tools/reference_docs.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from osteon.cli.main import app
from osteon.formats.registry import FORMATS
from osteon.formats.unsupported import UNSUPPORTED_FORMATS
from osteon.plan.schema import Plan

DOCS = Path(__file__).parents[1] / "docs"
LINE = "| --- "
MADE = "This page is made from the code: `python tools/reference_docs.py`."
FIELDS = {"room": "scale"}
"""Keys of the file → the names of their fields, where these differ and the key has a text."""
COMMANDS = f"""# Commands and options

As `osteon COMMAND --help` has them, on one page. Every command ends with 0 when all is done, 1 when some cases failed
(they are named), 2 when the command makes no sense, and 128 and the signal's number when it was ended. A value with a
minus in front is given with `=`: `--window=-1000:400`.

{MADE}
"""
PLAN_KEYS = f"""# Keys of plan.yaml

What `osteon plan` writes, and what you may edit, or give as `--set SECTION.KEY=VALUE`. Each section has a list `why` of
reasons, for people. [Planning](plan.md) says from which measurements each is decided. A value that makes no sense is
refused by its key. Where a text says None, the file has `null`.

{MADE}
"""
FORMAT_PAGE = f"""# File formats

What osteon reads and writes, by the suffix of a file's name. DICOM files and series are known by their content alone.
How headers are understood: [importing](import.md#headers), and [DICOM](import.md#dicom). What else `osteon
export` writes (meshes, DICOM, tables): [exporting](export.md). A [plug-in](plugins.md) adds a format.

{MADE}
"""


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def commands(group: Any, before: str = "osteon") -> Iterator[tuple[str, Any]]:
    """Each command with its whole name, those of groups too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


def called(parameter: Any) -> str:
    """An argument or an option as one types it."""
    name = parameter.metavar or parameter.name.upper().replace("_", "-")
    if parameter.param_type_name == "argument":
        return name.strip("[]…") + ("…" if parameter.nargs != 1 else "")
    flags = ", ".join([*parameter.opts, *parameter.secondary_opts])
    return flags if parameter.is_flag else f"{flags} {name}"


def command_section(name: str, command: Any) -> str:
    """A command: what it does, how it is called, its arguments and options."""
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    usage = [
        called(parameter) if parameter.required else f"[{called(parameter)}]"
        for parameter in shown
        if parameter.param_type_name == "argument"
    ]
    rows = []
    for parameter in shown:
        default = "" if parameter.default in (None, False, (), []) else f"`{cell(str(parameter.default))}`"
        means = "; may be repeated" if getattr(parameter, "multiple", False) else ""
        rows.append(f"| `{cell(called(parameter))}` | {cell(parameter.help or '').rstrip('.')}{means} | {default} |")
    text = " ".join((command.help or "").split())
    table = "\n".join(["| | means | default |", LINE * 3 + "|", *rows])
    return f"## {name}\n\n{text}\n\n    {' '.join([name, *usage, '[OPTIONS]'])}\n\n{table}\n"


def commands_page() -> str:
    """docs/commands.md."""
    return "\n\n".join([COMMANDS, *(command_section(*each) for each in commands(typer.main.get_command(app)))])


def kind(schema: dict[str, Any]) -> str:
    """A JSON schema's type in words."""
    if "$ref" in schema:
        return f"[{schema['$ref'].rpartition('/')[2]}](#{schema['$ref'].rpartition('/')[2].lower()})"
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(kind(each) for each in schema[union]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    named = {
        "array": "list",
        "object": "table",
        "null": "`null`",
        "boolean": "`true`, `false`",
        "integer": "whole number",
    }
    text = named.get(schema.get("type", ""), schema.get("type", "anything"))
    if "prefixItems" in schema:
        part = kind(schema["prefixItems"][0])
        return f"{len(schema['prefixItems'])} × {f'({part})' if ' or ' in part else part}"
    if isinstance(schema.get("items"), dict):
        return f"list of {kind(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"name → {kind(schema['additionalProperties'])}"
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return " ".join([text, ", ".join(f"{sign} {schema[key]}" for key, sign in limits.items() if key in schema)]).strip()


def described(text: str) -> tuple[str, dict[str, str]]:
    """A docstring's first part, and what it says of each attribute."""
    head, _, attributes = text.partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in attributes.splitlines():
        if begin := re.match(r" {4}(\w+): (.*)", line):
            name = begin[1]
            found[name] = begin[2]
        elif name:
            found[name] += f" {line.strip()}"
    return " ".join(head.split()), found


def keys_section(title: str, model: dict[str, Any]) -> str:
    """A section of the plan: a row for each key."""
    head, texts = described(model.get("description", ""))
    rows = []
    for key, schema in model["properties"].items():
        default = schema.get("default")
        shown = "" if default in (None, "", [], {}) or isinstance(default, dict) else f"`{json.dumps(default)}`"
        text = texts.get(FIELDS.get(key, key), "")
        rows += [f"| `{key}` | {cell(kind(schema))} | {shown} | {cell(text)} |"] if key != "why" else []
    return "\n".join([f"## {title}\n", head, "", "| key | value | default | |", LINE * 4 + "|", *rows, ""])


def plan_page() -> str:
    """docs/plan-keys.md: the sections in the file's order, then what lies within them."""
    schema = Plan.model_json_schema(by_alias=True)
    within = {key: re.findall(r"#/\$defs/(\w+)", json.dumps(value)) for key, value in schema["properties"].items()}
    titles = {names[0]: key for key, names in within.items() if len(names) == 1}
    models = {name: schema["$defs"][name] for names in within.values() for name in names} | schema["$defs"]
    sections = [keys_section(titles.get(name, name), model) for name, model in models.items()]
    page = "\n\n".join([PLAN_KEYS, keys_section("The file", schema), *sections])
    for name, title in titles.items():
        page = page.replace(f"[{name}](#{name.lower()})", f"[{title}](#{title})")
    return page


def formats_page() -> str:
    """docs/formats.md."""
    rows = []
    for form in FORMATS:
        can = (form.write_volume, form.write_segmentation, form.read_structures, form.holds_overlaps)
        marks = " | ".join("yes" if each else "" for each in can)
        rows.append(f"| {form.name} | {', '.join(f'`{suffix}`' for suffix in form.suffixes)} | yes | {marks} |")
    head = [
        "| format | suffixes | read | images written | labels written | labels have names | overlaps |",
        LINE * 7 + "|",
    ]
    table = "\n".join([*head, *rows])
    refused = [
        f"| {form.name} | {', '.join(f'`{suffix}`' for suffix in form.suffixes)} | {cell(form.advice)} |"
        for form in UNSUPPORTED_FORMATS
    ]
    known = "\n".join(["| format | suffixes | what to do |", LINE * 3 + "|", *refused])
    return f"{FORMAT_PAGE}\n## Images and labels\n\n{table}\n\n## Known and not read\n\n{known}\n"


PAGES = {"commands.md": commands_page, "plan-keys.md": plan_page, "formats.md": formats_page}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (DOCS / page).write_text(make().rstrip() + "\n", encoding="utf-8")
