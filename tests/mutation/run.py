"""Mutates the core, runs the tests against each mutant, prints who survived; fails below the score that is asked for.

The tool is mutmut: it forks after the tests are loaded, and runs for each mutant those that reach its function. Three
operators are added to its own. They are the faults that this code would suffer from most: a condition the wrong way
round, an effect that is left out, an error that is not raised.

    python tests/mutation/run.py [mutants ...]      names as mutmut prints them; `*` stands for anything
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

import libcst as cst
from mutmut.__main__ import _run as run_mutants
from mutmut.mutation import mutators
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

DEMANDED: Final = 90
"""Percentage of the mutants of every module that have to die."""
DEAD: Final = ("killed", "timeout", "segfault")


def negate(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    """Turn a condition round, where no operator of mutmut does that."""
    if isinstance(node.test, cst.Name | cst.Attribute | cst.Call | cst.BooleanOperation | cst.NamedExpr):
        condition = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), condition))


def omit(node: cst.Expr | cst.Raise | cst.Del) -> Iterator[cst.CSTNode]:
    """Leave a statement out that is there for its effect."""
    if not isinstance(node, cst.Expr) or isinstance(node.value, cst.Call | cst.Await):
        yield cst.Pass()


def omit_assignment(node: cst.Assign | cst.AugAssign) -> Iterator[cst.CSTNode]:
    """Leave a change of an object out. Without a local variable there would only be a ``NameError``."""
    targets = [target.target for target in node.targets] if isinstance(node, cst.Assign) else [node.target]
    if all(isinstance(target, cst.Attribute | cst.Subscript) for target in targets):
        yield cst.Pass()


def main(names: list[str]) -> int:
    operators = cast("list[tuple[type, Callable[[Any], Iterable[cst.CSTNode]]]]", mutators.mutation_operators)
    operators += [
        (cst.If, negate),
        (cst.While, negate),
        (cst.Expr, omit),
        (cst.Raise, omit),
        (cst.Del, omit),
        (cst.Assign, omit_assignment),
        (cst.AugAssign, omit_assignment),
    ]
    run_mutants(names, max_children=1)
    return report()


def report() -> int:
    """Print the score of each module, and the survivors; return how many modules miss what is demanded."""
    missed = 0
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        verdicts = {name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items() if code is not None}
        if not verdicts:
            continue
        counts = Counter(verdicts.values())
        score = 100 * sum(counts[verdict] for verdict in DEAD) / len(verdicts)
        missed += score < DEMANDED
        print(f"\n{path}: {score:.1f} % of {len(verdicts)} mutants died ({dict(counts)})")
        for name, verdict in verdicts.items():
            if verdict not in DEAD:
                print(f"\n{name}: {verdict}\n{changed_lines(name)}")
    return missed


def changed_lines(name: str) -> str:
    diff = get_diff_for_mutant(name).splitlines()
    return "\n".join(line for line in diff if line[:1] in "+-" and line[:3] not in ("+++", "---"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
