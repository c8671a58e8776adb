"""The data flow as text: ``request -> guard -> [embed -> search, keywords] -> rrf -> llm -> respond``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError, did_you_mean, nearest_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmdrill.system.scenario import FlowRule

REQUEST: Final = "request"
RESPOND: Final = "respond"
DOCUMENTS: Final = "documents"
_TOKEN = re.compile(
    r"\s*(?:(?P<arrow>->|→|=>)|(?P<sign>[\[\],;])|(?P<name>[A-Za-z][\w.-]*?(?=\s*(?:->|→|=>|[\[\],;\s]|$)))|(?P<other>\S))"
)


class FlowError(UsageError):
    """The text is no flow: carries the position, so that a caret can be shown under it."""

    def __init__(self, text: str, position: int, what: str) -> None:
        self.text, self.position, self.what = text, position, what
        super().__init__(f"position {position + 1}: {what}")


@dataclass(frozen=True, slots=True)
class FlowGraph:
    """Names in order of first mention, and edges (from, to) in order, each once."""

    names: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]

    def before(self, name: str) -> tuple[str, ...]:
        """Return the direct predecessors of ``name``."""
        return tuple(source for source, target in self.edges if target == name)

    def after(self, name: str) -> tuple[str, ...]:
        """Return the direct successors of ``name``."""
        return tuple(target for source, target in self.edges if source == name)

    def reachable(self, start: str) -> frozenset[str]:
        """Return every name that can be reached from ``start``, itself included."""
        seen, waiting = {start}, [start]
        while waiting:
            fresh = [name for name in self.after(waiting.pop()) if name not in seen]
            seen.update(fresh)
            waiting.extend(fresh)
        return frozenset(seen)


@dataclass(frozen=True, slots=True)
class FlowProblem:
    """Something wrong with a flow that parses: its kind, the stage it concerns, and a sentence."""

    kind: str  # cycle, dead end, unreachable, forgotten, order, …
    stage: str
    what: str


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


class _Parser:
    """Recursive descent.

    flow = chain (";" chain)*; chain = part ("->" part)*; part = name | "[" chain ("," chain)* "]"
    """

    def __init__(self, text: str, known: Sequence[str]) -> None:
        self.text, self.known = text, known
        self.tokens = _tokens(text)
        self.at = 0
        self.names: dict[str, None] = {}
        self.edges: dict[tuple[str, str], None] = {}

    def parse(self) -> FlowGraph:
        self._chain(depth=0)
        while self._peek().text == ";":
            self.at += 1
            if self._peek().kind != "end":
                self._chain(depth=0)
        if self._peek().kind != "end":
            raise self._expected("'->', ';' or the end")
        return FlowGraph(tuple(self.names), tuple(self.edges))

    def _chain(self, depth: int) -> tuple[list[str], list[str]]:
        first, last = self._part(depth)
        while self._peek().kind == "arrow":
            self.at += 1
            heads, tails = self._part(depth)
            self.edges.update(dict.fromkeys((source, target) for source in last for target in heads))
            last = tails
        return first, last

    def _part(self, depth: int) -> tuple[list[str], list[str]]:
        token = self._peek()
        if token.kind == "name":
            self.at += 1
            name = self._known_name(token)
            self.names.setdefault(name)
            return [name], [name]
        if token.text != "[" or depth > 20:
            raise self._expected("a stage's name or '['")
        self.at += 1
        branches = [self._chain(depth + 1)]
        while self._peek().text == ",":
            self.at += 1
            branches.append(self._chain(depth + 1))
        if self._peek().text != "]":
            raise self._expected("',', '->' or the ']' that closes this branch")
        self.at += 1
        first = dict.fromkeys(name for heads, _ in branches for name in heads)
        return list(first), list(dict.fromkeys(name for _, tails in branches for name in tails))

    def _known_name(self, token: _Token) -> str:
        name = token.text.lower()
        if name in self.known:
            return name
        hint = did_you_mean(nearest_names(name, self.known)) or f"; your parts are {', '.join(self.known)}"
        raise FlowError(self.text, token.position, f"'{token.text[:60]}' is none of your parts{hint}")

    def _peek(self) -> _Token:
        return self.tokens[self.at]

    def _expected(self, what: str) -> FlowError:
        token = self._peek()
        found = "the end" if token.kind == "end" else f"'{token.text}'"
        return FlowError(self.text, token.position, f"expected {what}, found {found}")


def _tokens(text: str) -> list[_Token]:
    tokens = []
    for match in _TOKEN.finditer(text.rstrip()):
        kind = str(match.lastgroup)
        if kind == "other":
            raise FlowError(text, match.start(kind), f"'{match[kind]}' has no meaning here; join stages with '->'")
        tokens.append(_Token(kind, match[kind], match.start(kind)))
    return [*tokens, _Token("end", "", len(text.rstrip()))]


def parse_flow(text: str, known: Sequence[str]) -> FlowGraph:
    """Read a flow; every name must be among ``known``.

    Raises:
        FlowError: With the position and what was expected there.

    >>> parse_flow("request -> [a -> b, c] -> respond", ["request", "a", "b", "c", "respond"]).edges
    (('a', 'b'), ('request', 'a'), ('request', 'c'), ('b', 'respond'), ('c', 'respond'))
    """
    if not text.strip():
        raise FlowError(text, 0, "expected a stage's name, found nothing")
    return _Parser(text, known).parse()


def check_shape(graph: FlowGraph, *, expected: Iterable[str], source: str, sink: str | None) -> list[FlowProblem]:
    """Return what is wrong with the shape: cycle, forgotten stage, unreachable stage, dead end."""
    problems = [
        FlowProblem("forgotten", name, f"you chose '{name}' but it is not in the flow")
        for name in expected
        if name not in graph.names
    ]
    problems += [
        FlowProblem(
            "cycle", name, f"'{name}' waits for itself: a data flow has no cycles; use retries or a judge stage"
        )
        for name in graph.names
        if any(name in graph.reachable(target) for target in graph.after(name))
    ][:1]
    if source not in graph.names:
        return [*problems, FlowProblem("unreachable", source, f"the flow does not start with '{source}'")]
    reached = graph.reachable(source)
    problems += [
        FlowProblem("unreachable", name, f"nothing leads from '{source}' to '{name}'")
        for name in graph.names
        if name not in reached
    ]
    if sink is not None:
        problems += _dead_ends(graph, sink)
    return problems


def _dead_ends(graph: FlowGraph, sink: str) -> list[FlowProblem]:
    if sink not in graph.names:
        return [FlowProblem("dead end", sink, f"the flow does not end with '{sink}'")]
    return [
        FlowProblem("dead end", name, f"'{name}' leads nowhere: its result never reaches '{sink}'")
        for name in graph.names
        if name != sink and not graph.after(name)
    ]


def check_rules(
    online: FlowGraph, offline: FlowGraph | None, rules: Iterable[FlowRule], *, chosen: Mapping[str, str]
) -> list[FlowProblem]:
    """Return the scenario's flow rules that the flow breaks; rules on parts that were not chosen are left out.

    Args:
        online: The request's path.
        offline: The path of documents, if any.
        rules: The scenario's rules.
        chosen: Role → option of every role that is filled.
    """
    return [problem for rule in rules if (problem := _broken(rule, online, offline, chosen)) is not None]


def _broken(
    rule: FlowRule, online: FlowGraph, offline: FlowGraph | None, chosen: Mapping[str, str]
) -> FlowProblem | None:
    stage, then = rule.stage, rule.then or ""
    if rule.rule == "needs":
        present = stage in online.names or (offline is not None and stage in offline.names)
        return None if present else FlowProblem("forgotten", stage, f"the flow needs '{stage}': {rule.why}")
    if rule.rule == "offline":
        misplaced = stage in online.names and stage in chosen
        return FlowProblem("order", stage, f"'{stage}' belongs on the offline line: {rule.why}") if misplaced else None
    if rule.rule == "before" and offline is not None and stage in offline.names and then in offline.names:
        early = then in offline.names and _reaches_without(offline, then, avoid=stage, start=DOCUMENTS)
        if early:
            return FlowProblem(
                "order", stage, f"'{stage}' must come before '{then}' on the documents' path: {rule.why}"
            )
    if stage not in online.names or then not in online.names:
        return None
    if rule.rule == "apart":
        waits = then in online.reachable(stage) or stage in online.reachable(then)
        return (
            FlowProblem("order", stage, f"'{stage}' and '{then}' need not wait for each other: {rule.why}")
            if waits
            else None
        )
    # "before": stage must lie on every path to `then`; a path that avoids it is a bypass.
    bypass = _reaches_without(online, then, avoid=stage)
    return (
        FlowProblem("order", stage, f"'{stage}' must come before '{then}' on every path: {rule.why}")
        if bypass
        else None
    )


def _reaches_without(graph: FlowGraph, target: str, *, avoid: str, start: str = REQUEST) -> bool:
    kept = tuple((source, end) for source, end in graph.edges if avoid not in (source, end))
    pruned = FlowGraph(tuple(name for name in graph.names if name != avoid), kept)
    return start in pruned.names and target in pruned.reachable(start)
