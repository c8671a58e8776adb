"""The report as Markdown: a person's words stay words, whatever they hold."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from llmdrill.report.blocks import Block, Bullets, Drawing, Grid, Heading, Text
from llmdrill.report.markdown import to_markdown
from llmdrill.report.mermaid import mermaid

MARKUP = (
    "a | b", "a | b\n--- | ---\n1 | 2", "`code`", "```\nfence", "~~~\nfence", "# title", "#", "## x", "Title\n===",
    "x\n---", "***", "___", "- item", "+ item", "* item", "1. item", "12) item", "    code", "> quote", "a  \nb",
    "<script>alert(1)</script>", "<!-- gone -->", "&lt;b&gt;", "&#60;b", "[a](http://x)", "![a](b)", "[a]: http://x",
    "*a*", "__a__", "~~a~~", "\\", "a\\|b", "a\rb# c", "$4 and $5", "",
)  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(MARKUP),
    st.lists(st.sampled_from(MARKUP), min_size=1, max_size=3).map("\n".join),
    st.text(alphabet="ab |`<>#-+=~*_[]()!&;.1\n\\\"'\t", max_size=30),
    st.text(max_size=30),
)
ALLOWED = {
    Text: {"paragraph"},
    Heading: {"heading", "paragraph"},
    Bullets: {"bullet_list", "list_item", "paragraph"},
    Grid: {"table", "thead", "tbody", "tr", "th", "td", "paragraph"},
}
END = Text("The end stands.")


def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _shape(document: str) -> tuple[set[str], set[str], str]:
    """Return the kinds of block, the kinds of inline markup and all text of a Markdown document."""
    tokens = _reader().parse(document)
    kinds = {token.type.removesuffix("_open") for token in tokens if token.nesting >= 0 and token.type != "inline"}
    children = [child for token in tokens for child in token.children or ()]
    inline = {child.type for child in children} - {"text", "softbreak"}
    return kinds, inline, " ".join(child.content for child in children if child.type == "text")


@pytest.mark.parametrize("kind", [Text, Heading, Bullets, Grid])
@given(words=WORDS)
@example(words="a\n\n~~~\nb")
def test_a_persons_words_cannot_become_markup(kind: type[Block], words: str) -> None:
    blocks: dict[type, Block] = {
        Text: Text(words),
        Heading: Heading(words, 2),
        Bullets: Bullets((words, "second")),
        Grid: Grid(("a", ">b"), ((words, "1"), ("x", words))),
    }
    kinds, inline, text = _shape(to_markdown((blocks[kind], END)))
    assert kinds <= ALLOWED[kind] | {"paragraph"}
    assert inline == set()
    assert text.endswith(END.text)


@given(WORDS)
def test_every_letter_of_a_persons_words_can_still_be_read(words: str) -> None:
    words = words.replace("\x00", "")  # Markdown shows it as a replacement character
    visible = [letter for letter in words if letter.isprintable() and not letter.isspace()]
    _, _, text = _shape(to_markdown((Text(words),)))
    assert [letter for letter in text if letter.isprintable() and not letter.isspace()] == visible


@given(WORDS, WORDS)
def test_a_table_keeps_its_columns_whatever_its_cells_hold(one: str, two: str) -> None:
    tokens = _reader().parse(to_markdown((Grid(("a", "b", "c"), ((one, two, "3"), ("1", one, two))),)))
    assert sum(token.type == "td_open" for token in tokens) == 6


@given(st.text(alphabet="`~ab\n", max_size=30))
def test_a_drawing_is_one_fence_whatever_it_holds(text: str) -> None:
    tokens = _reader().parse(to_markdown((Drawing(text, "mermaid"), END)))
    assert next(token.type for token in tokens) == "fence"
    assert tokens[0].content.rstrip("\n") == text.rstrip("\n")
    assert tokens[0].info == "mermaid"
    assert [token.type for token in tokens][1:] == ["paragraph_open", "inline", "paragraph_close"]


def test_markdown_of_every_kind_of_block() -> None:
    blocks = (
        Heading("Title", 1),
        Text("Words."),
        Bullets(("one", "two\nlines")),
        Grid(("name", ">value"), (("a|b", "1"),), title="Figures", note="A note."),
        Drawing("x --> y", "mermaid"),
    )
    assert to_markdown(blocks) == (
        "# Title\n\nWords.\n\n- one\n- two\n  lines\n\n"
        "**Figures**\n\n| name | value |\n| --- | ---: |\n| a\\|b | 1 |\n\nA note.\n\n"
        "```mermaid\nx --> y\n```\n"
    )


def test_mermaid_numbers_its_nodes_so_that_no_name_can_be_a_keyword() -> None:
    assert mermaid(["end", "graph"], [("end", "graph")]) == ('flowchart LR\n  n0["end"]\n  n1["graph"]\n  n0 --> n1')


@given(st.text(max_size=30))
def test_a_mermaid_label_can_neither_close_its_quotes_nor_its_line(label: str) -> None:
    lines = mermaid(["a"], [], labels={"a": label}).split("\n")
    assert len(lines) == 2
    assert lines[1].startswith('  n0["')
    assert lines[1].endswith('"]')
    assert '"' not in lines[1].removeprefix('  n0["').removesuffix('"]')
