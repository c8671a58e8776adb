from __future__ import annotations

import codecs
import re
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdrill.retrieval.ingest.html import read_html
from llmdrill.retrieval.ingest.parsed import UnreadableError
from llmdrill.retrieval.ingest.pdf import read_pdf
from llmdrill.retrieval.ingest.rst import read_rst
from llmdrill.retrieval.ingest.text import decode, read_markdown
from llmdrill.retrieval.markdown import block_starts

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0\ufeff"), max_size=60)


# --- text ---------------------------------------------------------------------------------------------------------


@given(TEXTS, st.sampled_from([("", "utf-8"), ("", "utf-8-sig"), ("", "utf-16"), ("", "utf-32")]))
def test_a_text_comes_back_as_it_was_whatever_unicode_encoding_it_declares(text: str, how: tuple[str, str]) -> None:
    assert decode(text.encode(how[1])) == text


@given(st.lists(TEXTS.filter(lambda text: "\n" not in text), max_size=5), st.sampled_from(["\n", "\r\n", "\r"]))
def test_every_kind_of_line_end_becomes_a_newline(lines: list[str], end: str) -> None:
    assert decode(end.join(lines).encode()) == "\n".join(lines)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"a\0b", "binary"),
        ("café".encode("latin-1"), "not UTF-8"),
        (codecs.BOM_UTF16_LE + b"a", "not UTF-8"),
        (b"%PDF\x93\x8c\0", "binary"),
    ],
)
def test_bytes_that_are_no_text_are_refused(raw: bytes, why: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        decode(raw)
    assert caught.value.why == why


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Intro\n\n## Second *level* ##\ntext", "Second *level*"),
        ('---\ntitle: "From the front"\ntags: [a]\n---\n# Heading\n', "From the front"),
        ("---\ntags: [a]\n---\n# Heading\n", "Heading"),
        ("```sh\n# a comment\n```\n# Heading\n", "Heading"),
        ("no heading", ""),
    ],
)
def test_a_markdown_text_keeps_every_character_and_names_itself(text: str, title: str) -> None:
    parsed = read_markdown(text.encode())
    assert (parsed.text, parsed.title) == (text, title)


# --- HTML ---------------------------------------------------------------------------------------------------------

PAGE = """<!DOCTYPE html><html><head><title>The page</title><style>p { color: red }</style></head><body>
<nav><ul><li>Home</ul>About</nav>
<h1>First &amp; foremost</h1><p>One<br>two <a href="x">link</a>.
<p>Next<ul><li>a<ul><li>a1<li><p>a2</p></ul><li>b</ul><ol><li>first<li></li><li><p>third</p></ol>
<table><tr><th>k<th>v</tr><tr><td>1|2<td><p>x</p></tr></table><pre>if a:
    b &lt; c
</pre>tail<script>alert("no")</script><h2></h2><svg><title>no</title></svg><img src="i" alt="a cat"></body></html>"""
AS_TEXT = """# First & foremost

One
two link.

Next

- a
  - a1
  - a2
- b

1. first
3. third

| k | v |
| --- | --- |
| 1\\|2 | x |

```
if a:
    b < c
```

tail

a cat
"""


def test_a_page_becomes_markdown_that_the_structural_chunker_understands() -> None:
    parsed = read_html(PAGE.encode())
    assert (parsed.title, parsed.text) == ("The page", AS_TEXT)
    kinds = [block.kind for block in block_starts(parsed.text)]
    assert kinds == ["heading", "paragraph", "paragraph", "list", "table", "fence", "paragraph", "paragraph"]


def test_only_the_main_part_is_taken_where_a_page_says_what_that_is() -> None:
    parsed = read_html(b"<body><div>Menu</div><main><h2>Topic</h2>Text</main><footer>Imprint</footer>")
    assert (parsed.title, parsed.text) == ("Topic", "## Topic\n\nText\n")


@pytest.mark.parametrize("declaration", [b'<meta charset="latin-1">', b"<meta content='text/html; charset=latin-1'>"])
def test_a_page_is_read_in_the_encoding_it_declares(declaration: bytes) -> None:
    assert read_html(b"<html><head>" + declaration + b"<p>caf\xe9").text == "café\n"


WORDS = st.text("abcxyzäß ", min_size=1, max_size=8)
TREES = st.recursive(
    WORDS,
    lambda inside: st.tuples(
        st.sampled_from(["p", "div", "ul", "li", "table", "pre", "b", "h2", "blockquote", "main", "section"]),
        st.lists(inside),
    ),
    max_leaves=12,
)
Tree = str | tuple[str, list["Tree"]]


def markup(tree: Tree) -> str:
    if isinstance(tree, str):
        return tree
    tag, inside = tree
    cells = f"<tr><td>{'<td>'.join(map(markup, inside))}</table>" if tag == "table" else "".join(map(markup, inside))
    return f"<{tag}>{cells}" if tag == "table" else f"<{tag}>{cells}</{tag}>"


@given(st.lists(TREES, max_size=5))
def test_no_letter_of_a_page_is_lost_or_moved(trees: list[Tree]) -> None:
    page = "".join(map(markup, trees)).replace("main", "div")
    letters = re.findall(r"[^\W\d_]", re.sub(r"<[^>]*>", "", page))
    assert re.findall(r"[^\W\d_]", read_html(page.encode()).text) == letters


@settings(max_examples=300)
@given(st.text("<>!-[]/?a p\"'=&;#\n|", max_size=60))
def test_a_page_of_any_characters_is_read_or_refused(page: str) -> None:
    try:
        read_html(page.encode())
    except UnreadableError as error:
        assert error.why == "broken as HTML"  # noqa: PT017 - being read is as good


# --- reStructuredText ---------------------------------------------------------------------------------------------

RST = """.. _target:

=====
Title
=====

See :func:`~os.path.join`, `the guide <https://x.y>`_ and ``a``::

    code = 1

.. code-block:: python
   :linenos:

   if a:
       b

Part
----

.. note:: Mind this.

   More of it.

.. image:: x.png
   :alt: dropped

.. a comment
   that goes on

.. function:: f(x)
   :noindex:

   Adds.

Deeper
~~~~~~

.. [1] A footnote.

Other
-----
"""
RST_AS_TEXT = """# Title

See os.path.join, the guide and `a`:

```
code = 1
```

```
if a:
    b
```

## Part

Note: Mind this.

   More of it.

f(x)

   Adds.

### Deeper

[1] A footnote.

## Other
"""


def test_restructured_text_becomes_markdown_with_sections_code_and_plain_words() -> None:
    parsed = read_rst(RST.encode())
    assert (parsed.title, parsed.text) == ("Title", RST_AS_TEXT)


@given(st.lists(st.lists(st.text("abcdefg", min_size=1), min_size=1, max_size=4), min_size=1, max_size=6))
def test_plain_paragraphs_pass_through_unchanged(paragraphs: list[list[str]]) -> None:
    text = "\n\n".join(" ".join(words) for words in paragraphs) + "\n"
    assert read_rst(text.encode()).text == text


@settings(max_examples=300)
@given(st.lists(st.sampled_from(["Word", "====", "::", ".. note::", ".. x", "   in", "", "`a", ":r:`b`", "__ x"])))
def test_any_order_of_lines_is_read(lines: list[str]) -> None:
    read = read_rst("\n".join(lines).encode()).text
    assert read.count("Word") == lines.count("Word")


# --- PDF ----------------------------------------------------------------------------------------------------------


def pdf(pages: Sequence[Sequence[str]], outline: Sequence[tuple[str, int]] = (), title: str = "") -> bytes:
    """Write the smallest real PDF: lines of text on pages, an outline of (title, page)."""
    first = 5
    page_ids = [first + 2 * number for number in range(len(pages))]
    entries = [first + 2 * len(pages) + number for number in range(len(outline))]
    bodies = {
        1: f"<< /Type /Catalog /Pages 2 0 R {'/Outlines 4 0 R' if outline else ''} >>",
        2: f"<< /Type /Pages /Count {len(pages)} /Kids [{' '.join(f'{number} 0 R' for number in page_ids)}] >>",
        3: "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        4: f"<< /Count {len(outline)} /First {entries[0]} 0 R /Last {entries[-1]} 0 R >>" if outline else "<< >>",
    }
    for number, lines in zip(page_ids, pages, strict=True):
        shown = "".join(f"({line}) Tj 0 -20 Td " for line in lines)
        stream = f"BT /F1 12 Tf 72 720 Td {shown}ET"
        resources = "/Resources << /Font << /F1 3 0 R >> >> /MediaBox [0 0 612 792]"
        bodies[number] = f"<< /Type /Page /Parent 2 0 R {resources} /Contents {number + 1} 0 R >>"
        bodies[number + 1] = f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream"
    for place, (name, page) in enumerate(outline):
        following = f"/Next {entries[place + 1]} 0 R" if place + 1 < len(entries) else ""
        bodies[entries[place]] = f"<< /Title ({name}) /Parent 4 0 R /Dest [{page_ids[page]} 0 R /Fit] {following} >>"
    info = max(bodies) + 1
    bodies[info] = f"<< /Title ({title}) >>"
    objects = [f"{number} 0 obj\n{body}\nendobj\n" for number, body in sorted(bodies.items())]
    starts = list(accumulate((len(each) for each in objects), initial=len("%PDF-1.4\n")))
    table = "".join(f"{start:010} 00000 n \n" for start in starts[:-1])
    trailer = f"trailer\n<< /Size {info + 1} /Root 1 0 R /Info {info} 0 R >>\nstartxref\n{starts[-1]}\n%%EOF\n"
    return f"%PDF-1.4\n{''.join(objects)}xref\n0 {info + 1}\n0000000000 65535 f \n{table}{trailer}".encode()


def test_the_pages_of_a_pdf_become_text_and_the_lines_its_outline_names_headings() -> None:
    pytest.importorskip("pypdf")
    raw = pdf([["1 Start", "of it all"], ["2 End"]], [("Start", 0), ("End", 1)], title="The  book")
    parsed = read_pdf(raw)
    assert (parsed.title, parsed.text.split()) == ("The book", ["#", "1", "Start", "of", "it", "all", "#", "2", "End"])
    assert [block.kind for block in block_starts(parsed.text)] == ["heading", "paragraph", "heading"]


def test_a_pdf_with_a_broken_outline_still_gives_its_text() -> None:
    pytest.importorskip("pypdf")
    raw = pdf([["Text"]], [("Text", 0)]).replace(b"/Dest [5 0 R", b"/Dest [x x x")
    assert read_pdf(raw).text == "Text\n"


def test_a_pdf_that_cannot_be_read_says_why() -> None:
    pypdf = pytest.importorskip("pypdf")
    whole = pdf([["Text"]])
    writer = pypdf.PdfWriter()
    writer.append(__import__("io").BytesIO(whole))
    writer.encrypt("secret", algorithm="RC4-128")
    locked = __import__("io").BytesIO()
    writer.write(locked)
    cases = {"broken": b"%PDF-1.4\nno", "without text": pdf([[]]), "locked with a password": locked.getvalue()}
    for why, raw in cases.items():
        with pytest.raises(UnreadableError) as caught:
            read_pdf(raw)
        assert caught.value.why == why


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 700), st.binary(min_size=1, max_size=6))
def test_a_damaged_pdf_is_read_or_refused(at: int, bytes_there: bytes) -> None:
    pytest.importorskip("pypdf")
    raw = pdf([["Some text"]], [("Some text", 0)])
    try:
        read_pdf(raw[:at] + bytes_there + raw[at + len(bytes_there) :])
    except UnreadableError as error:
        assert error.why in {"broken", "without text", "encrypted", "locked with a password"}  # noqa: PT017 - as above
