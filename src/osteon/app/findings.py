"""The audit's findings, read from its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from osteon.auditing.finding import Finding
from osteon.core.errors import FileError
from osteon.core.files import read_json


def read_audit(dataset: Path) -> tuple[str, list[Finding], dict[str, list[str]]] | None:
    """Summary, findings, and the structures found in each case; None where nothing was audited."""
    try:
        data: Any = read_json(dataset / "audit/audit.json", "the audit")
        findings = [Finding.model_validate(finding) for finding in data["findings"]]
        return str(data["summary"]), findings, {c["id"]: sorted(c.get("structures") or {}) for c in data["cases"]}
    except (FileError, ValidationError, KeyError, TypeError):
        return None
