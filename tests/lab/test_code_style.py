"""Source in another style: the same program but for its names, on real modules."""

from __future__ import annotations

import ast
import json
import textwrap
import tokenize
from pathlib import Path

import pytest

from llmdrill.lab.code_style import camel_case, restyle

NAMES = {"id", "attr", "name", "arg", "asname", "module", "rest", "names", "kwd_attrs"}
MODULES = [tokenize.__file__, textwrap.__file__, json.decoder.__file__, json.encoder.__file__, pytest.__file__]


class _Renamed(ast.NodeTransformer):
    """Every name in camelCase; f-strings are left out, as only some Pythons tell names in them."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for field, value in ast.iter_fields(node):
            if field in NAMES and isinstance(value, str):
                setattr(node, field, ".".join(camel_case(part) for part in value.split(".")))
            elif field in NAMES and isinstance(value, list):
                setattr(node, field, [camel_case(one) if isinstance(one, str) else one for one in value])
        return super().generic_visit(node)

    def visit_JoinedStr(self, _: ast.JoinedStr) -> ast.AST:
        return ast.Constant("")


@pytest.mark.parametrize("file", MODULES, ids=lambda file: Path(file).stem)
def test_a_real_module_stays_the_same_program_but_for_its_names(file: str) -> None:
    source = Path(file).read_text(encoding="utf-8")
    restyled = restyle(source)
    assert restyled is not None
    assert ast.dump(_Renamed().visit(ast.parse(restyled))) == ast.dump(_Renamed().visit(ast.parse(source)))
    assert len(restyled.splitlines()) == len(source.splitlines())
    assert restyled != source


def test_indentation_is_halved_and_further_lines_keep_their_place() -> None:
    source = (
        "class A:\n    def b_c(self, d_e='x'):\n        # why\n        return f(d_e,\n"
        '                 """q\n        r""")\n'
    )
    expected = 'class A:\n  def bC(self, dE="x"):\n    # why\n    return f(dE,\n             """q\n        r""")\n'
    assert restyle(source) == expected


@pytest.mark.parametrize("source", ["if True:\n\tpass\n", "def f(:\n  (\n", "'''open\n"])
def test_what_cannot_be_read_or_has_tabs_is_left_out(source: str) -> None:
    assert restyle(source) is None
