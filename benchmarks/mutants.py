"""Do the tests notice when the code is wrong? Breaks it in one place at a time, and runs the tests that are near.

    python benchmarks/mutants.py
    python benchmarks/mutants.py --count 200 --minutes 60 --seed 1
    python benchmarks/mutants.py --rooms predicting/steps.py --count 1000

A sample of all the places where an operator, a constant, a condition or an argument can be another, drawn by the seed.
The broken code lies in a copy that is imported instead; the checkout stays as it is. A mutant's tests are the modules
that import its module, at most NEAR of them, those first that are called after it; where fewer do, also those that
import what imports it. A survivor is one that all of these let pass, whether or not a test further away would find it:
it is equal to the code as it was, or a test is missing. Those whose tests take longer than --limit seconds are slow.
The tests have to pass before: run `make check` first.

Neither mutmut 3.8 (runs all tests first, and draws no sample) nor cosmic-ray 8.7 (one command of tests for all modules,
mutants in the checkout) did this without a program around it.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "osteon"
ROOMS = ["core", "preparing", "predicting", "evaluating"]
NEAR = 3
FAR = ("test_app", "test_docs", "test_growth", "test_gpu")
"""Tests that import much and look at something else."""
OTHER: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Add,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.USub: ast.UAdd,
}  # fmt: skip


def broken(node: ast.AST) -> Iterator[ast.AST]:
    """The node, wrong in one way after another."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.BinOp | ast.BoolOp | ast.AugAssign | ast.UnaryOp) and type(new.op) in OTHER:
        new.op = OTHER[type(new.op)]()
        yield new
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not):
        yield new.operand
    elif isinstance(new, ast.Compare) and type(new.ops[0]) in OTHER:
        new.ops[0] = OTHER[type(new.ops[0])]()
        yield new
    elif isinstance(new, ast.Constant) and isinstance(new.value, int | float):
        yield ast.Constant(not new.value if isinstance(new.value, bool) else new.value + 1)
    elif isinstance(new, ast.If | ast.IfExp | ast.While):
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield new
    elif isinstance(new, ast.Call) and new.args and len(new.args) + len(new.keywords) > 1:
        for part in (new.args, new.keywords):
            if part:
                fewer = copy.deepcopy(new)
                (fewer.args if part is new.args else fewer.keywords).pop()
                yield fewer
    elif isinstance(new, ast.Expr) and isinstance(new.value, ast.Call):
        yield ast.Pass()


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs, in the order of the file: no annotations, no messages of errors."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.Raise | ast.JoinedStr | ast.Assert):
                yield child
                yield from nodes(child)


def mutants(text: str) -> Iterator[tuple[int, str, str]]:
    """Of a module: the line, what is broken, and the whole module with it."""
    tree = ast.parse(text)
    for node in nodes(tree):
        kept = dict(vars(node))
        before, old = ast.unparse(node), type(node)
        for new in broken(node):
            node.__class__, node.__dict__ = type(new), {**kept, **vars(new)}  # in its place, whoever holds it
            yield kept.get("lineno", 0), f"{_first(before)} → {_first(ast.unparse(node))}", ast.unparse(tree)
            node.__class__, node.__dict__ = old, dict(kept)


def _first(text: str) -> str:
    line = text.splitlines()[0]
    return line if len(line) <= 90 else line[:89] + "…"


def imported(path: Path) -> set[str]:
    """All modules that a file names in its imports: `a.b` and, of `from a import b`, `a` and `a.b`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update([node.module, *(f"{node.module}.{name.name}" for name in node.names)])
    return found


def module_of(path: Path) -> str:
    """`osteon.room.module` of a file."""
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


class Near:
    """Which tests are near a module."""

    def __init__(self) -> None:
        self.tests = {path: imported(path) for path in sorted((ROOT / "tests").glob("test_*.py"))}
        self.tests = {path: names for path, names in self.tests.items() if not path.stem.startswith(FAR)}
        self.sources = {module_of(path): imported(path) for path in SOURCE.rglob("*.py")}

    def of(self, module: str) -> list[Path]:
        """At most NEAR files of tests; none where nothing that tests import leads to it in three steps."""
        wanted, stem, found = {module}, module.rsplit(".", 1)[-1], list[Path]()
        for _ in range(3):
            more = [path for path, names in self.tests.items() if names & wanted and path not in found]
            found += sorted(more, key=lambda p: (stem not in p.stem, len(self.tests[p] & self.sources.keys())))
            if len(found) >= NEAR:
                break
            wanted |= {name for name, names in self.sources.items() if names & wanted}
        return found[:NEAR]


def judge(copied: Path, path: Path, text: str, tests: list[Path], limit: float) -> str:
    """Run the tests on one broken module: killed, survived or slow."""
    place = copied / path.relative_to(SOURCE)
    kept = place.read_text(encoding="utf-8")
    place.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *map(str, tests)]
    own = {"PYTHONPATH": str(copied.parent), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    nothing, env = subprocess.DEVNULL, {**os.environ, **own}
    child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=nothing, stderr=nothing, start_new_session=True)
    try:
        return "survived" if child.wait(limit) == 0 else "killed"
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, 9)
        child.wait()
        return "slow"
    finally:
        place.write_text(kept, encoding="utf-8")


def main() -> None:
    """Break, test, and print what survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", nargs="+", default=ROOMS, help="folders and files below src/osteon")
    parser.add_argument("--count", type=int, default=60, help="how many mutants at most")
    parser.add_argument("--minutes", type=float, default=20, help="begin none after so long")
    parser.add_argument("--limit", type=float, default=90, help="seconds for the tests of one")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    places = [SOURCE / room for room in arguments.rooms]
    files = [path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*.py")))]
    every = [(path, *mutant) for path in files for mutant in mutants(path.read_text(encoding="utf-8"))]
    chosen = random.Random(arguments.seed).sample(every, min(arguments.count, len(every)))
    near, ends, verdicts = Near(), time.monotonic() + 60 * arguments.minutes, Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(shutil.copytree(SOURCE, Path(folder) / "osteon", ignore=shutil.ignore_patterns("__pycache__")))
        for path, line, what, text in chosen:
            if time.monotonic() > ends:
                break
            tests = near.of(module_of(path))
            verdict = judge(copied, path, text, tests, arguments.limit) if tests else "untested"
            verdicts[verdict] += 1
            if verdict != "killed":
                names = ", ".join(test.stem.removeprefix("test_") for test in tests)
                print(f"{verdict}: {path.relative_to(SOURCE)}:{line}: {what}  [{names}]", flush=True)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    print(f"{verdicts.total()} of {len(every)} mutants (seed {arguments.seed}): {counts}")


if __name__ == "__main__":
    main()
