"""Mutation testing: changes the code at random places and names the changes that no test notices.

    python -m tests.mutants mnist_dist/run/lock.py --tests tests/unit/run/test_lock.py --sample=20

A mutant has one statement deleted, one comparison or `and`/`or` turned round, one condition
negated, or one number changed. It is run in a copy of the working tree, which stays as it is. A
survivor is a missing test, or a change without an effect; read it and decide. The tests' processes
end with this one, even if it is killed.
"""

import argparse
import ast
import contextlib
import copy
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import warm

ROOT = Path(__file__).resolve().parents[1]
OPPOSITE = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq},
    **{ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot},
    **{ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add},
}


def mutate(node):
    """The mutants of one node, each as the node that takes its place."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OPPOSITE:
        yield ast.Compare(
            node.left, [OPPOSITE[type(node.ops[0])](), *node.ops[1:]], node.comparators
        )
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(OPPOSITE[type(node.op)](), node.values)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPPOSITE:
        yield ast.BinOp(node.left, OPPOSITE[type(node.op)](), node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        yield ast.Constant(not node.value if type(node.value) is bool else node.value + 1)
    elif isinstance(node, ast.If | ast.While):
        yield type(node)(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    elif isinstance(node, ast.Return) and node.value is not None:
        yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Assign | ast.AugAssign | ast.Raise) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield ast.Pass()


def mutants(source):
    """(line, what it was, what it is, the whole module) of each mutant."""
    tree = ast.parse(source)
    for number, node in enumerate(ast.walk(tree)):
        for other in mutate(node):
            changed = copy.deepcopy(tree)
            target = list(ast.walk(changed))[number]
            for parent in ast.walk(changed):
                for field, value in ast.iter_fields(parent):
                    if value is target:
                        setattr(parent, field, other)
                    elif isinstance(value, list) and any(item is target for item in value):
                        value[[item is target for item in value].index(True)] = other
            before, after = ast.unparse(node), ast.unparse(ast.fix_missing_locations(other))
            if before != after:  # `return None` stays as it is
                yield node.lineno, before.split("\n")[0], after.split("\n")[0], ast.unparse(changed)


@contextlib.contextmanager
def ends_with_us(leader):
    """Kills a process and its group at the end of the block, or when this process has ended."""
    guard = subprocess.Popen(
        # The pipe closes with this process, however that ends.
        ["sh", "-c", 'read -r line; kill -s KILL -- "-$1"', "sh", str(leader)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the group may have ended
        start_new_session=True,
    )
    try:
        yield
    finally:
        guard.communicate()


def survives(tree, tests, deadline_s):
    """Whether the tests pass in `tree` within the deadline."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    light = all("unit" in Path(test).parts for test in tests)
    process = (subprocess if light else warm).Popen(  # which has imported TensorFlow
        command,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process, ends_with_us(process.pid):
        try:
            return process.wait(deadline_s) == 0
        except subprocess.TimeoutExpired:
            return False


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--tests", nargs="+", required=True, help="what pytest runs")
    parser.add_argument("--sample", type=int, default=30, help="mutants of all files together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--deadline_s", type=float, default=300, help="of one run of the tests")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop by SIGTERM"))
    # Of two mutants made within a second, Python would take the first one's bytecode for both.
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sources = {path: path.read_text() for path in given.files}
    found = [(path, *mutant) for path in given.files for mutant in mutants(sources[path])]
    sample = random.Random(given.seed).sample(found, min(given.sample, len(found)))
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".git", "__pycache__", ".venv", "runs", ".*_cache")
        shutil.copytree(ROOT, tree, ignore=ignored)
        if not survives(tree, given.tests, given.deadline_s):
            sys.exit("the tests fail, or take too long, without a mutant")
        killed = {path: [] for path in given.files}
        try:
            for path, line, before, after, module in sample:
                (tree / path).write_text(module)
                killed[path].append(not survives(tree, given.tests, given.deadline_s))
                if not killed[path][-1]:
                    print(f"{path}:{line}: {before!r} -> {after!r}", flush=True)
                (tree / path).write_text(sources[path])
        finally:  # also of a run that is cut off
            for path, results in killed.items():
                possible = sum(mutant[0] == path for mutant in found)
                score = f"{sum(results)} of {len(results)} mutants killed"
                print(f"{path}: {score}, of {possible} possible", flush=True)


if __name__ == "__main__":
    main()
