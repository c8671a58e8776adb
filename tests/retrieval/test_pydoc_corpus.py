from __future__ import annotations

import importlib
import inspect
import pkgutil
import platform
from typing import TYPE_CHECKING

import pytest

from llmdrill.retrieval.labelled import question_entries
from llmdrill.retrieval.pydoc import QUESTIONS, load_pydoc, module_documents

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.retrieval.corpora import LabelledCorpus

SOURCE = '''"""The module."""
raise SystemExit("importing this would run it")
class Public(Base):
    """A class
       of its own."""
    def method(self, x, *, y=1):
        r"""A \\method."""
    def _private(self):
        """Not shown."""
    def bare(self): ...
if sys.platform == "linux":
    async def waits():
        """Only on Linux."""
try:
    from fast import quick
except ImportError:
    def quick(n):
        """Slow."""
        def inner():
            """Not reached from outside."""
class _Hidden:
    """Not shown."""
'''


@pytest.fixture(scope="module")
def corpus() -> LabelledCorpus:
    return load_pydoc()


def test_the_public_docstrings_of_a_module_are_read_without_running_it(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(SOURCE, encoding="utf-8")
    assert {
        each.id: each.text.removeprefix(f"# {each.id}\n\n") for each in module_documents(tmp_path / "m.py", "m")
    } == {
        "m": "The module.\n",
        "m.Public": "class Public(Base)\n\nA class\nof its own.\n",
        "m.Public.method": "method(self, x, *, y=1)\n\nA \\method.\n",
        "m.waits": "waits()\n\nOnly on Linux.\n",
        "m.quick": "quick(n)\n\nSlow.\n",
    }


@pytest.mark.parametrize("module", ["shutil", "textwrap", "heapq", "contextlib", "json"])
def test_what_is_read_is_what_the_running_library_documents(corpus: LabelledCorpus, module: str) -> None:
    importlib.import_module(module)
    of_module = [each for each in corpus.documents if each.family == module]
    compared = 0
    for document in of_module:
        try:
            live = inspect.getdoc(pkgutil.resolve_name(document.id))
        except (ImportError, AttributeError):
            continue  # of another platform
        if live and document.text.rstrip().endswith(live.rstrip()):
            compared += 1
    assert compared >= 0.7 * len(of_module) > 0  # the others are written in C where this Python runs


def test_every_module_that_is_read_is_public_and_no_document_is_without_words(corpus: LabelledCorpus) -> None:
    assert len(corpus.documents) > 1000
    assert not [each.id for each in corpus.documents if any(part.startswith("_") for part in each.id.split("."))]
    assert not [each.id for each in corpus.documents if len(each.text.split()) < 3]


def test_at_least_a_hundred_questions_have_an_answer_in_this_version_and_the_number_is_stated(
    corpus: LabelledCorpus,
) -> None:
    known = {document.id for document in corpus.documents}
    entries = question_entries(QUESTIONS)
    existing = [entry for entry in entries if entry.relevant and known & set(entry.relevant)]
    asked = sum(entry.kind != "unanswerable" for entry in entries)
    assert len(existing) >= 100
    assert sum(question.answerable for question in corpus.questions) == len(existing)
    assert (
        f"Python {platform.python_version()}: {len(known):,} docstrings; {len(existing)} of the {asked}"
        in corpus.notes[0]
    )
    assert corpus.labels == "documents"
    assert {question.split for question in corpus.questions} == {"dev", "test"}


def test_no_label_is_left_on_what_this_version_does_not_have(corpus: LabelledCorpus) -> None:
    known = {document.id for document in corpus.documents}
    assert {judged.document for question in corpus.questions for judged in question.relevant} <= known


def test_no_two_questions_are_the_same_and_none_of_the_labels_is_a_misspelt_name(corpus: LabelledCorpus) -> None:
    entries = question_entries(QUESTIONS)
    assert len({" ".join(entry.text.lower().split()) for entry in entries}) == len(entries)
    modules = {document.family for document in corpus.documents}
    labels = {name for entry in entries for name in entry.relevant}
    assert {name.partition(".")[0] for name in labels} <= modules
