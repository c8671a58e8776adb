"""Lines to be completed for a verifier: prompts cut from real statements, and programs that say right or wrong.

Nothing that a model writes is run. A line is parsed, its names are looked up, and arithmetic on whole numbers is
evaluated from the syntax tree by three operators on bounded numbers. There is no import, no call and no attribute, so
no subprocess has to be fenced in.
"""

from __future__ import annotations

import ast
import builtins
import operator
import re
import sysconfig
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from llmdrill.errors import UsageError
from llmdrill.lab.completion_cases import SourceText, lines_of_code

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from llmdrill.lab.tokenizer import Tokenizer

Verifier = Literal["names", "parses", "sums"]
VERIFIERS: Final = get_args(Verifier)
FEWEST_LINES_BEFORE: Final = 20  # of a file, so that names have been bound
DIGITS: Final = 9  # a sum's numbers are 1 to 9
SHOWN_SUMS: Final = 3
LARGEST: Final = 10**9  # of a number that a completion may hold: products of a few stay small
KNOWN_ALWAYS: Final = frozenset({*dir(builtins), "self", "cls"})
_NAME: Final = re.compile(r"[^\W\d]\w*")
_OPERATORS: Final[dict[type, Callable[[int, int], int]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


@dataclass(frozen=True, slots=True)
class Task:
    """A prompt, and what a verifier needs to judge its completion.

    Attributes:
        ids: Tokens of the prompt.
        typed: The part of the last line that stands there, without its indentation.
        written: What the author wrote next, to the end of the line.
        names: All names of the file before the cut.
    """

    ids: tuple[int, ...]
    typed: str
    written: str
    names: frozenset[str]


def is_right(verifier: Verifier, task: Task, completion: str) -> bool:
    """Tell whether a completion passes.

    ``parses``: the whole line is one statement. ``names``: and every name in it that is read stood in the file before
    or is a builtin. ``sums``: ``assert a + b == …`` is finished so that it holds.
    """
    tree = parse_line(task.typed + completion)
    match verifier:
        case "parses":
            return tree is not None
        case "names":
            return tree is not None and names_read(tree) <= task.names | KNOWN_ALWAYS | names_bound(tree)
        case "sums":
            return tree is not None and _holds(tree)


def parse_line(line: str) -> ast.Module | None:
    """Return the syntax tree of a line that is one statement, or the head of one; None if it is neither.

    >>> parse_line("if x:") is not None, parse_line("return foo(") is not None
    (True, False)
    """
    heads = {"elif": "if 0:\n    pass\n", "else": "if 0:\n    pass\n", "except": "try:\n    pass\n"}
    heads["finally"] = heads["except"]
    first = _NAME.match(line)
    before = heads.get(first[0], "") if first else ""
    body = "\n    pass" if line.rstrip().endswith(":") else ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(f"{before}{line.strip()}{body}")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree if len(tree.body) == 1 else None


def names_read(tree: ast.Module) -> frozenset[str]:
    """Return the names that a line reads: variables, not attributes or arguments' keywords."""
    return frozenset(
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    )


def names_bound(tree: ast.Module) -> frozenset[str]:
    """Return the names that a line binds for itself, as a comprehension or a lambda does."""
    stored = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return frozenset({*stored, *(node.arg for node in ast.walk(tree) if isinstance(node, ast.arg))})


def _holds(tree: ast.Module) -> bool:
    match tree.body[0]:
        case ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])):
            value = whole_number(left)
            return value is not None and value == whole_number(right)
    return False


def whole_number(node: ast.expr) -> int | None:
    """Return the value of sums, differences and products of whole numbers; None for anything else.

    >>> whole_number(ast.parse("3 + 4 * 2", mode="eval").body), whole_number(ast.parse("f(2)", mode="eval").body)
    (11, None)
    """
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool) and abs(value) <= LARGEST:
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            negated = whole_number(operand)
            return None if negated is None else -negated
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            a, b = whole_number(left), whole_number(right)
            return None if a is None or b is None else _OPERATORS[type(op)](a, b)
    return None


def draw_tasks(
    verifier: Verifier,
    texts: Sequence[SourceText],
    tokenizer: Tokenizer,
    *,
    tasks: int,
    context_tokens: int,
    rng: np.random.Generator,
) -> tuple[Task, ...]:
    """Return prompts whose written continuation passes the verifier: lines of code cut between two tokens.

    Raises:
        UsageError: If the files have fewer such lines.
    """
    places = [(at, line) for at, source in enumerate(texts) for line in _lines_of_words(source.text)]
    found: list[Task] = []
    for one in rng.permutation(len(places)):
        task = _task(texts[places[one][0]].text, places[one][1], tokenizer, context_tokens, rng)
        if task is not None and is_right(verifier, task, task.written):
            found.append(task)
        if len(found) == tasks:
            return tuple(found)
    raise UsageError(f"{tasks} prompts: these files have {len(found)} lines that can be verified")


def _lines_of_words(text: str) -> list[int]:
    """Return the numbers, from 0, of lines of code that have several words and begin with no string."""
    lines = text.split("\n")
    late = (at for at in lines_of_code(text) if at >= FEWEST_LINES_BEFORE)
    return [at for at in late if len(lines[at].split()) > 1 and not lines[at].lstrip().startswith(('"', "'"))]


def _task(text: str, number: int, tokenizer: Tokenizer, context_tokens: int, rng: np.random.Generator) -> Task | None:
    """Return a line cut between two of its tokens; None if it has no such place."""
    lines = text.split("\n")
    line, before = lines[number].strip(), "\n".join(lines[:number]) + "\n"
    indentation = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
    ids = tokenizer.encode(line)
    if len(ids) < 3:  # one to stand there, two to write
        return None
    cut = int(rng.integers(1, len(ids) - 1))
    typed = tokenizer.decode(ids[:cut])
    if not line.startswith(typed):  # cut within a character
        return None
    start = tokenizer.encode(before[-8 * context_tokens :] + indentation)
    prompt = (*start, *ids[:cut])[-context_tokens:]
    return Task(tuple(prompt), typed, line[len(typed) :], frozenset(_NAME.findall(before + typed)))


def draw_sums(
    tokenizer: Tokenizer, *, tasks: int, held_out_tasks: int, rng: np.random.Generator
) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """Return ``assert a + b ==`` behind three sums that hold, for training and for judging: no sum is in both.

    A quarter of the 81 sums of two digits is held out; the sum that is asked for is never among the three shown.
    """
    sums = rng.permutation(DIGITS * DIGITS)
    cut = len(sums) // 4
    seen, unseen = (
        tuple(_sum(tokenizer, rng.choice(part, SHOWN_SUMS + 1, replace=False).tolist()) for _ in range(count))
        for part, count in ((sums[cut:], tasks), (sums[:cut], held_out_tasks))
    )
    return seen, unseen


def _sum(tokenizer: Tokenizer, sums: Sequence[int]) -> Task:
    *shown, (a, b) = [(1 + one // DIGITS, 1 + one % DIGITS) for one in sums]
    typed = f"assert {a} + {b} =="
    text = "".join(f"assert {one} + {other} == {one + other}\n" for one, other in shown) + typed
    return Task(tuple(tokenizer.encode(text)), typed, f" {a + b}", frozenset())


def trained_on(held_out: frozenset[str], *, files: int, rng: np.random.Generator) -> tuple[SourceText, ...]:
    """Return modules of this Python's standard library that are not held out: the embedded model has seen them.

    Raises:
        UsageError: If the standard library is not there as files of source.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*.py"))
    paths += sorted(path.relative_to(folder).as_posix() for path in folder.glob("[a-z]*/*.py"))
    known = [
        path for path in paths if path not in held_out and not path.startswith(("site-packages", "test/", "lib2to3"))
    ]
    if not known:
        raise UsageError(f"{folder}: no source of the standard library here, and prompts are cut from it")
    drawn = rng.permutation(len(known))[:files]
    return tuple(SourceText(known[at], (folder / known[at]).read_text("utf-8", errors="replace")) for at in drawn)
