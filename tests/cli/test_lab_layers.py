"""`llmdrill lab attention`, `norm`, `moe` and `ssm` as they are called: output, and one line for what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")

if TYPE_CHECKING:
    from conftest import Call

pytestmark = pytest.mark.lab


def test_ssm_shows_what_json_holds_and_asserts_on_it(call: Call) -> None:
    small = ("--quick", "--width", 16, "--heads", 2, "--state", 4, "--longest", 128, "--context", 128)
    shown = call("lab", "ssm", *small)
    assert shown.status == 0
    assert "state_bytes" in shown.out
    found = call("lab", "ssm", *small, "--json", "--assert", "state_bytes < 500B")
    assert found.status == 1
    assert found.json["schema"] == "llmdrill/lab-ssm@1"
    assert found.json["state_bytes"] == found.json["predicted"]["state_bytes"]
    assert found.json["weights_matter"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ssm", "--heads", 3), "128 wide with 3 heads: the heads must divide the width"),
        (("ssm", "--longest", 64), "64 is not in the range"),
        (("norm", "--width", 12), "the width must be a multiple"),
        (("norm", "--rate", "fast"), "'fast' is not a valid float"),
        (("attention", "--width", 12), "the width must be a multiple"),
        (("attention", "--steps", 0), "0 is not in the range"),
        (("moe", "--experts", 4, "--per-token", 5), "--per-token 5: there are only 4 experts"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(call: Call, arguments: tuple[object, ...], words: str) -> None:
    refused = call("lab", *arguments)
    assert refused.status == 2
    assert words in refused.err
    assert "Traceback" not in refused.err
    assert refused.out == ""
