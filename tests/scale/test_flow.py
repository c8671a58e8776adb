"""The data flow as text: what it means, where it is wrong, and the scenario's rules about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from walk_cases import case, prompt_at

from llmdrill.errors import UsageError
from llmdrill.scale.flow import FlowError, FlowGraph, FlowProblem, check_rules, check_shape, parse_flow
from llmdrill.scale.walk import answer
from llmdrill.system.scenario import FlowRule

KNOWN = ("request", "a", "b", "c", "d", "respond")


@pytest.mark.parametrize(
    ("text", "edges"),
    [
        ("a", ()),
        ("a -> b -> c", (("a", "b"), ("b", "c"))),
        ("a → b => c", (("a", "b"), ("b", "c"))),
        ("a->b;a->c", (("a", "b"), ("a", "c"))),
        ("a -> b;", (("a", "b"),)),
        ("a -> [b, c] -> d", (("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))),
        ("a -> [b -> c, d]", (("b", "c"), ("a", "b"), ("a", "d"))),
        ("[a, b] -> [c, d]", (("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"))),
        ("a -> [[b, c]] -> d", (("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"))),
        ("A -> B", (("a", "b"),)),
        ("a -> b -> c; a -> b", (("a", "b"), ("b", "c"))),
    ],
)
def test_a_flow_is_read_as_edges(text: str, edges: tuple[tuple[str, str], ...]) -> None:
    assert parse_flow(text, KNOWN).edges == edges


@pytest.mark.parametrize(
    ("text", "position", "what"),
    [
        ("", 0, "expected a stage's name, found nothing"),
        ("   ", 0, "expected a stage's name, found nothing"),
        ("a ->", 4, "expected a stage's name or '[', found the end"),
        ("a -> -> b", 5, "expected a stage's name or '[', found '->'"),
        ("-> a", 0, "expected a stage's name or '[', found '->'"),
        ("a b", 2, "expected '->', ';' or the end, found 'b'"),
        ("a, b", 1, "expected '->', ';' or the end, found ','"),
        ("a -> [b, c", 10, "expected ',', '->' or the ']' that closes this branch, found the end"),
        ("a -> [b c]", 8, "expected ',', '->' or the ']' that closes this branch, found 'c'"),
        ("a -> []", 6, "expected a stage's name or '[', found ']'"),
        ("a -> [b,]", 8, "expected a stage's name or '[', found ']'"),
        ("a]", 1, "expected '->', ';' or the end, found ']'"),
        ("a > b", 2, "'>' has no meaning here; join stages with '->'"),
        ("a | b", 2, "'|' has no meaning here; join stages with '->'"),
        ("a -> Zz2", 5, "'Zz2' is none of your parts; your parts are request, a, b, c, d, respond"),
        ("a -> respnd", 5, "'respnd' is none of your parts (did you mean respond"),
        ("[" * 30 + "a" + "]" * 30, 21, "expected a stage's name or '[', found '['"),
    ],
)
def test_a_flow_that_is_none_is_refused_at_its_position_with_what_was_expected(
    text: str, position: int, what: str
) -> None:
    with pytest.raises(FlowError) as caught:
        parse_flow(text, KNOWN)
    assert caught.value.position == position
    assert caught.value.what.startswith(what)
    assert str(caught.value).startswith(f"position {position + 1}: ")


FLOWS = st.recursive(
    st.sampled_from(KNOWN),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda chain: " -> ".join(_bracketed(part) for part in chain)),
        st.lists(inner, min_size=1, max_size=3).map(lambda branches: f"[{' , '.join(branches)}]"),
    ),
    max_leaves=8,
)


def _bracketed(part: str) -> str:
    return part if part.startswith("[") or "->" not in part else f"[{part}]"


@given(FLOWS, st.data())
def test_spaces_never_change_the_graph(flow: str, data: st.DataObject) -> None:
    tokens = flow.replace("[", " [ ").replace("]", " ] ").replace(",", " , ").split()
    gaps = data.draw(st.lists(st.sampled_from(("", " ", "  ", "\n", "\t")), min_size=len(tokens), max_size=len(tokens)))
    spaced = "".join(token + gap for token, gap in zip(tokens, gaps, strict=True))
    assert parse_flow(spaced, KNOWN) == parse_flow(flow, KNOWN)


@given(st.text(alphabet="abcd[],;->=→ \n.\\x(\"'", max_size=40))
def test_any_text_is_a_flow_or_is_refused_within_it(text: str) -> None:
    position = 0
    try:
        graph = parse_flow(text, KNOWN)
    except FlowError as error:
        graph, position = FlowGraph((), ()), error.position
    assert 0 <= position <= len(text)
    assert set(graph.names) <= set(KNOWN)
    assert all(source in graph.names and target in graph.names for source, target in graph.edges)


def test_thousands_of_branches_are_read_at_once_and_each_edge_once() -> None:
    many = f"[{','.join(['a'] * 4_900)}] -> [{','.join(['b'] * 4_900)}]"
    assert parse_flow(many, KNOWN).edges == (("a", "b"),)


# --- shape ----------------------------------------------------------------------------------------------------------


def _problems(text: str, expected: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    found = check_shape(parse_flow(text, KNOWN), expected=expected, source="request", sink="respond")
    return [(problem.kind, problem.stage) for problem in found]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("request -> a -> respond", []),
        ("request -> [a, b] -> respond", []),
        ("request -> a -> b -> a -> respond", [("cycle", "a")]),
        ("request -> a -> a -> respond", [("cycle", "a")]),
        ("request -> [a, b]; a -> respond", [("dead end", "b")]),
        ("request -> a -> respond; b -> respond", [("unreachable", "b")]),
        ("a -> respond", [("unreachable", "request")]),
        ("request -> a", [("dead end", "respond")]),
        ("request -> b -> respond", [("forgotten", "a")]),
    ],
)
def test_each_flaw_of_shape_is_named_with_its_stage(text: str, problems: list[tuple[str, str]]) -> None:
    assert _problems(text, expected=("a",) if "a" in text or ("forgotten", "a") in problems else ()) == problems


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("request -> guard -> llm -> guard -> respond", "'guard' waits for itself"),
        ("guard -> llm -> respond", "does not start with 'request'"),
        ("request -> llm -> respond -> guard", "'respond' is the end"),
        ("request -> nobody -> respond", "'nobody' is none of your parts"),
    ],
)
def test_the_walk_refuses_a_flow_that_cannot_run_and_shows_what_only_is_unwise(typed: str, why: str) -> None:
    scenario = case()
    walk, prompt = prompt_at(scenario, "flow", {"role.guard": "rules", "role.llm": "small"})
    with pytest.raises(UsageError, match=why):
        answer(scenario, walk, prompt, typed)
    assert answer(scenario, walk, prompt, " request ->\n llm  -> respond ").text == "request -> llm -> respond"


# --- the scenario's rules -------------------------------------------------------------------------------------------

NEEDS = FlowRule(rule="needs", stage="a", why="it answers")
BEFORE = FlowRule(rule="before", stage="a", then="b", why="it must")
APART = FlowRule(rule="apart", stage="a", then="b", why="they can")
OFFLINE = FlowRule(rule="offline", stage="a", why="it is slow")


@pytest.mark.parametrize(
    ("rule", "text", "kept"),
    [
        (NEEDS, "request -> a -> respond", True),
        (NEEDS, "request -> b -> respond", False),
        (BEFORE, "request -> a -> b -> respond", True),
        (BEFORE, "request -> a -> c -> b -> respond", True),
        (BEFORE, "request -> b -> a -> respond", False),
        (BEFORE, "request -> [a, b] -> respond", False),
        (BEFORE, "request -> [a, c] -> b -> respond", False),  # c is a way round a
        (BEFORE, "request -> b -> respond", True),  # a was not chosen: another rule's business
        (APART, "request -> [a, b] -> respond", True),
        (APART, "request -> a -> b -> respond", False),
        (APART, "request -> b -> c -> a -> respond", False),
        (OFFLINE, "request -> b -> respond", True),
        (OFFLINE, "request -> a -> respond", False),
    ],
)
def test_each_rule_is_kept_or_broken(rule: FlowRule, text: str, kept: bool) -> None:
    graph = parse_flow(text, KNOWN)
    found = check_rules(graph, None, [rule], chosen=dict.fromkeys(graph.names, "x"))
    assert (found == []) == kept
    if not kept:
        assert isinstance(found[0], FlowProblem)
        assert rule.why in found[0].what


def test_a_needed_stage_may_stand_on_the_offline_line() -> None:
    online, offline = parse_flow("request -> b -> respond", KNOWN), FlowGraph(("documents", "a"), (("documents", "a"),))
    assert check_rules(online, offline, [NEEDS], chosen={"a": "x"}) == []


@given(FLOWS)
def test_before_and_apart_are_never_both_kept_once_both_stages_are_reached(flow: str) -> None:
    graph = parse_flow(f"request -> [{flow}] -> respond", (*KNOWN, "request"))
    if not {"a", "b"} <= graph.reachable("request"):
        return
    kept = [check_rules(graph, None, [rule], chosen={}) == [] for rule in (BEFORE, APART)]
    assert kept != [True, True]


@given(FLOWS)
def test_a_stage_before_another_comes_earlier_on_every_path(flow: str) -> None:
    graph = parse_flow(f"request -> [{flow}] -> respond", KNOWN)
    if check_rules(graph, None, [BEFORE], chosen={}) == [] and {"a", "b"} <= set(graph.names):
        paths = _paths(graph, ("request",), "b")
        assert all("a" in path for path in paths)


def _paths(graph: FlowGraph, path: tuple[str, ...], end: str) -> list[tuple[str, ...]]:
    """Return every path without repetition."""
    if path[-1] == end:
        return [path]
    return [one for name in graph.after(path[-1]) if name not in path for one in _paths(graph, (*path, name), end)]
