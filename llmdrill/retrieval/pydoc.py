"""The docstrings of the running Python's standard library as a corpus: real text that no labelled set was made from.

A module is read by parsing its source, never by importing it: importing runs code. So modules written in C have no
documents, and neither do submodules; of datetime, decimal and io the version in Python stands for the one in C.
"""

from __future__ import annotations

import ast
import platform
import sys
import sysconfig
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmdrill.retrieval.corpora import Document, LabelledCorpus
from llmdrill.retrieval.labelled import question_entries, with_questions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

QUESTIONS: Final = Path(__file__).with_name("pydoc_questions.yaml")
IN_PYTHON: Final = {"_pydatetime": "datetime", "_pydecimal": "decimal", "_pyio": "io"}

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def load_pydoc() -> LabelledCorpus:
    """Return the docstrings of this Python's top-level public modules, and the questions that they answer here.

    A label is a qualified name; ``notes`` say how many of the questions this version can answer.
    """
    documents = {document.id: document for document in _documents()}
    corpus = LabelledCorpus(tuple(documents[name] for name in sorted(documents)), (), source="pydoc")
    labelled = with_questions(corpus, QUESTIONS, allow_missing=True, split_families=True)
    asked = sum(entry.kind != "unanswerable" for entry in question_entries(QUESTIONS))
    answerable = sum(question.answerable for question in labelled.questions)
    note = (
        f"Python {platform.python_version()}: {len(documents):,} docstrings; {answerable} of the {asked} questions "
        f"written for them have an answer in this version, {len(labelled.questions) - answerable} more have none in any"
    )
    return replace(labelled, notes=(note,))  # in place of the list of names that this version does not have


def _documents() -> Iterator[Document]:
    """Yield later what is better known: a name that comes twice is the last one's."""
    folder = Path(sysconfig.get_path("stdlib"))
    for name in [*IN_PYTHON, *sorted(name for name in sys.stdlib_module_names if not name.startswith("_"))]:
        for path in (folder / f"{name}.py", folder / name / "__init__.py"):
            if path.is_file():
                yield from module_documents(path, IN_PYTHON.get(name, name))


def module_documents(path: Path, module: str) -> Iterator[Document]:
    """Yield a document for each docstring of a module: its own, its classes', functions' and methods'.

    A document is a heading with the qualified name, the signature, and the docstring; private names are left out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parsing warns of escapes that the module itself never meant
        tree = ast.parse(path.read_bytes())
    yield from _of(tree, module, module)


def _of(node: _Documented, name: str, module: str) -> Iterator[Document]:
    docstring = ast.get_docstring(node)
    if docstring:
        text = f"# {name}\n\n{_signature(node, name)}{docstring}\n"
        yield Document(name, module, name, text)
    if isinstance(node, ast.Module | ast.ClassDef):
        for inner in _definitions(node.body):
            if not inner.name.startswith("_"):
                yield from _of(inner, f"{name}.{inner.name}", module)


def _definitions(body: Sequence[ast.stmt]) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield definitions, those inside conditions too: which one a platform takes, it documents."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.If):
            yield from _definitions([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _definitions([*node.body, *(each for handler in node.handlers for each in handler.body)])
            yield from _definitions([*node.orelse, *node.finalbody])


def _signature(node: _Documented, name: str) -> str:
    match node:
        case ast.Module():
            return ""
        case ast.ClassDef():
            bases = ", ".join(ast.unparse(base) for base in node.bases)
            return f"class {node.name}({bases})\n\n" if bases else f"class {node.name}\n\n"
        case _:
            return f"{name.rpartition('.')[2]}({ast.unparse(node.args)})\n\n"
