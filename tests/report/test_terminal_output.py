"""What reaches the terminal: within its width, plain where it must be, and no command to it out of a file."""

from __future__ import annotations

import io
import re
import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdrill.report.blocks import Block, Bullets, Drawing, Grid, Heading, Text
from llmdrill.report.boxes import draw_boxes, draw_words
from llmdrill.report.terminal import Terminal, printable, wants_plain
from llmdrill.report.walk_views import flow_drawing
from llmdrill.scale.flow import FlowGraph

BOX = re.compile("[\u2500-\u259f]")
NAMES = ("request", "guard", "cache", "embed", "search", "keywords", "rrf", "rerank", "llm", "respond")


@st.composite
def _dags(draw: st.DrawFn) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    count = draw(st.integers(1, len(NAMES)))
    names = NAMES[:count]
    pairs = [(names[i], names[j]) for i in range(count) for j in range(i + 1, count)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=16)) if pairs else []
    return names, tuple(edges)


@given(_dags(), st.integers(20, 120))
def test_boxes_stay_within_the_width_or_become_words(
    dag: tuple[tuple[str, ...], tuple[tuple[str, str], ...]], width: int
) -> None:
    names, edges = dag
    drawn = draw_boxes(names, edges, width=width)
    if not BOX.search(drawn):
        assert drawn == draw_words(names, edges)
        return
    assert all(len(line) <= width for line in drawn.split("\n"))
    for name in names:
        assert drawn.count(f"│ {name} │") == 1
    assert drawn.count("┌─") >= len(names)


@given(_dags())
def test_every_edge_is_in_the_words(dag: tuple[tuple[str, ...], tuple[tuple[str, str], ...]]) -> None:
    names, edges = dag
    said = [line.split(" -> ") for line in draw_words(names, edges).split("\n") if line]
    found = {(source, target) for source, targets in said for target in targets.split(", ")}
    assert found == set(edges)


def test_a_window_too_narrow_for_boxes_gets_words() -> None:
    edges = [("request", name) for name in NAMES[1:]]
    assert draw_boxes(NAMES, edges, width=60) == draw_words(NAMES, edges)
    assert BOX.search(draw_boxes(NAMES, edges, width=200))


def test_parallel_branches_stand_side_by_side() -> None:
    edges = [("request", "embed"), ("request", "keywords"), ("embed", "rrf"), ("keywords", "rrf")]
    rows = draw_boxes(("request", "embed", "keywords", "rrf"), edges, width=80).split("\n")
    assert any("│ embed │" in row and "│ keywords │" in row for row in rows)


def test_plain_mode_draws_a_flow_in_words() -> None:
    graph = FlowGraph(("request", "llm", "respond"), (("request", "llm"), ("llm", "respond")))
    assert flow_drawing(graph, width=80, plain=True) == "request -> llm\nllm -> respond"
    assert BOX.search(flow_drawing(graph, width=80, plain=False))


TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(("\x1b[31mred\x1b[0m", "\x9b2J", "\x1b]0;title\x07", "bell\x07", "a\nb", "x " * 90)),
)
BLOCKS = st.one_of(
    st.builds(Heading, TEXTS, st.integers(1, 3)),
    st.builds(Text, TEXTS, st.sampled_from(("plain", "good", "bad", "warn", "dim"))),
    st.builds(Bullets, st.lists(TEXTS, max_size=3).map(tuple)),
    st.builds(Drawing, TEXTS),
    st.builds(Grid, st.just(("a", ">b")), st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple), TEXTS, TEXTS),
)


def _written(blocks: list[Block], *, plain: bool, width: int = 80) -> str:
    stream = io.StringIO()
    terminal = Terminal(stream, plain=plain, width=width)
    terminal.write(blocks)
    for block in blocks:
        if isinstance(block, Text):
            terminal.line(block.text, block.tone)
    return stream.getvalue()


def _commands(text: str) -> list[str]:
    """Return the control characters but line breaks and tabs."""
    return [letter for letter in text if unicodedata.category(letter) == "Cc" and letter not in "\n\t"]


@given(st.lists(BLOCKS, max_size=4))
def test_plain_mode_writes_no_escape_code_whatever_the_blocks_hold(blocks: list[Block]) -> None:
    assert _commands(_written(blocks, plain=True)) == []


@settings(max_examples=50)
@given(st.lists(BLOCKS, max_size=3))
def test_in_colour_only_our_own_colours_reach_the_terminal(blocks: list[Block]) -> None:
    rest = re.sub(r"\x1b\[[0-9;]*m", "", _written(blocks, plain=False))
    assert _commands(rest) == []


def test_plain_mode_adds_no_box_and_no_glyph_of_its_own() -> None:
    blocks: list[Block] = [
        Heading("Title", 1),
        Text("Words.", "bad"),
        Bullets(("one", "two"), "warn"),
        Grid(("name", ">value"), (("a", "1"), ("b", "22")), "Figures", "A note.", ("good", "bad")),
    ]
    written = _written(blocks, plain=True)
    assert written.isascii()
    assert "a         1" in written
    assert written == _written(blocks, plain=True)


@pytest.mark.parametrize("width", [40, 60, 100])
def test_a_table_stays_within_the_window_and_loses_no_word(width: int) -> None:
    words = [f"word{index}" for index in range(60)]
    grid = Grid(("stage", "kind", ">p50", ">p95", "why"), (("llm", "api", "1 s", "2 s", " ".join(words)),))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", _written([grid], plain=False, width=width)).split("\n")
    assert all(len(line) <= width for line in lines)
    letters = "".join("".join(line.split()) for line in lines)
    assert sum(letters.count(f"word{index}") for index in (10, 59)) >= 1 or width == 40


def test_a_row_too_wide_for_a_plain_window_becomes_one_line_a_cell() -> None:
    written = _written([Grid(("stage", "why"), (("llm", "x" * 90),))], plain=True, width=60)
    assert written.startswith("stage: llm\n  why: xxx")


NAME_OF_PARTS = st.lists(st.sampled_from(("tokens", "per", "s", "predicted", "ratio")), min_size=1, max_size=5)


@st.composite
def _grids(draw: st.DrawFn) -> Grid:
    columns = draw(st.lists(NAME_OF_PARTS.map("_".join), min_size=1, max_size=9))
    marks = [draw(st.sampled_from(("", ">"))) for _ in columns]
    cells = st.tuples(*(st.from_regex(r"[0-9]{1,9}|[a-z]{2,9}(_[a-z]{2,9}){0,5}", fullmatch=True) for _ in columns))
    rows = draw(st.lists(cells, max_size=3))
    return Grid(tuple(map("".join, zip(marks, columns, strict=True))), tuple(rows), " ".join(columns), "a note " * 12)


@settings(max_examples=80)
@given(_grids(), st.integers(40, 110), st.booleans())
def test_a_table_stays_within_the_window_and_keeps_every_letter(grid: Grid, width: int, plain: bool) -> None:
    lines = re.sub(r"\x1b\[[0-9;]*m", "", _written([grid], plain=plain, width=width)).split("\n")
    assert max(map(len, lines)) <= width
    letters = Counter("".join(lines))
    assert all(letters[letter] >= count for letter, count in Counter("".join(map("".join, grid.rows))).items())


def test_headers_are_stacked_before_a_row_of_numbers_is_taken_apart() -> None:
    grid = Grid((">tokens", ">predicted_tokens_per_s", ">measured_tokens_per_s"), (("1", "65.5", "22.6"),))
    for plain in (True, False):
        lines = _written([grid], plain=plain, width=44).splitlines()
        assert max(map(len, lines)) <= 44
        assert any(line.split() == ["1", "65.5", "22.6"] for line in lines)
        assert any(line.split() == ["predicted_", "measured_"] for line in lines)


def test_a_long_name_is_broken_after_an_underscore_where_a_person_looks_and_never_in_a_pipe() -> None:
    name = "continue_draft_model_tokens_per_pass_ratio"
    grid = Grid(("figure", *(f">number{at}" for at in range(4))), ((name, "1", "2", "3", "4"),))
    assert "continue_draft_model_tokens_per_" in [
        line.split()[0] for line in _written([grid], plain=False, width=68).split("\n") if line
    ]
    assert _written([grid], plain=True, width=68) == (
        f"figure: {name}\n  number0: 1  number1: 2  number2: 3  number3: 4\n\n"
    )


def test_where_the_widest_column_is_one_word_the_next_is_broken() -> None:
    grid = Grid(("shape", "engine", ">error"), (("smollm2-135m-instruct", "native decode int8", "-0.218"),))
    lines = _written([grid], plain=False, width=42).split("\n")
    assert any(line.split() == ["smollm2-135m-instruct", "native", "-0.218"] for line in lines)
    assert any(line.split() == ["decode"] or line.split() == ["decode", "int8"] for line in lines)


def test_a_line_of_a_drawing_is_kept_or_broken_between_words_under_its_own_indent() -> None:
    drawing = Drawing("    kept   as it is\n    " + "word " * 12)
    assert _written([drawing], plain=True, width=40) == (
        "    kept   as it is\n    word word word word word word word\n      word word word word word\n\n"
    )


@pytest.mark.parametrize(
    ("terminal", "environ", "plain"),
    [
        (True, {"TERM": "xterm-256color"}, False),
        (False, {"TERM": "xterm-256color"}, True),
        (True, {"TERM": "dumb"}, True),
        (True, {}, True),
        (True, {"TERM": "xterm", "CI": "true"}, True),
    ],
)
def test_plain_mode_is_chosen_where_no_person_looks(terminal: bool, environ: dict[str, str], plain: bool) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    assert wants_plain(Stream(), environ) is plain


def test_printable_keeps_tabs_line_breaks_and_every_letter() -> None:
    assert printable("a\tb\nc é 漢 👩") == "a\tb\nc é 漢 👩"
    assert printable("\x1b[2Ja\x07\x9b\x7f\r") == "[2Ja"
