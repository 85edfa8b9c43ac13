"""The page at `/`: the routes of the server, from its own OpenAPI description. It loads nothing from anywhere."""

from __future__ import annotations

from html import escape
from typing import Any

_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>osteon serve</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}
code,pre{font-family:ui-monospace,monospace;font-size:.95em}
pre{padding:.8rem 1rem;border:1px solid #8886;border-radius:.4rem;overflow-x:auto}
section{border-top:1px solid #8886;margin-top:1.5rem}
h2{font-size:1.1rem}b{display:inline-block;min-width:4.5rem}
td{padding:.1rem 1rem .1rem 0;vertical-align:top}
</style>"""
_USE = """curl -T scan.nii.gz -X POST http://localhost:8000/jobs
curl http://localhost:8000/jobs/ID
curl -O http://localhost:8000/jobs/ID/mask.nii.gz"""


def api_page(description: dict[str, Any]) -> str:
    """HTML of an OpenAPI description."""
    info = description["info"]
    parts = [_HEAD, f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>"]
    parts.append(f"<pre>{escape(_USE)}</pre>")
    parts.append('<p>For programs: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1).</p>')
    for path, methods in description["paths"].items():
        parts += [_route(path, method, operation) for method, operation in methods.items()]
    return "\n".join(parts) + "</html>\n"


def _route(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}</td>"
        f"<td>{escape(p.get('description', ''))}</td></tr>"
        for p in operation.get("parameters", [])
    ]
    rows += [
        f"<tr><td>{escape(status)}</td><td></td><td>{escape(response.get('description', ''))}</td></tr>"
        for status, response in operation.get("responses", {}).items()
    ]
    text = "".join(f"<p>{escape(part)}</p>" for part in operation.get("description", "").split("\n\n") if part)
    return (
        f"<section><h2><b>{escape(method.upper())}</b> <code>{escape(path)}</code></h2>{text}"
        f"<table>{''.join(rows)}</table></section>"
    )
