"""What --explain fills in is arithmetic: put into a calculator, it gives the figure itself."""

from __future__ import annotations

import math
import re
from statistics import NormalDist

import pytest
from calc_cases import run_json

_NAMES = {
    "sqrt": math.sqrt,
    "ln": math.log,
    "ceil": math.ceil,
    "round_down": math.floor,
    "min": min,
    "max": max,
    "phi": NormalDist().cdf,
    "e": math.e,
}
_WRITTEN = (
    (r"(?<=\d),(?=\d{3})", ""),
    ("²", "**2"),
    ("×", "*"),
    ("−", "-"),
    (r"\^", "**"),
    ("Φ", "phi"),
    ("round up", "ceil"),
    ("round down", "round_down"),
    (r"(?<=[\d)])\s(?:s|B)\b", ""),
)


def computed(filled: str) -> float:
    """Return what the left side of a filled-in formula comes to."""
    text = filled.partition(" = ")[0]
    for written, read in _WRITTEN:
        text = re.sub(written, read, text)
    return float(eval(text, {"__builtins__": {}}, _NAMES))  # noqa: S307 - our own output


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("index --vectors 100 --dimensions 64 --kind hnsw", "index_bytes build_distances query_distances"),
        ("index --vectors 1M --dimensions 64 --kind hnsw --dtype int8 --originals", "index_bytes build_distances"),
        ("index --vectors 20k --dimensions 64 --kind hnsw --library hnswlib", "index_bytes query_distances"),
        (
            "index --vectors 20k --dimensions 64 --kind ivf-flat --dtype binary --probes 3",
            "index_bytes build_distances",
        ),
        ("index --vectors 20k --dimensions 64 --kind ivf-pq --bits 6", "index_bytes build_distances query_distances"),
        ("abtest --baseline 0.1% --target 0.11%", "sample_size_per_arm power_share minimum_detectable_effect_share"),
        ("abtest --baseline 10% --target 12% --variance unpooled --n 300", "sample_size_per_arm power_share"),
        ("abtest --difference 3 --deviation 20", "sample_size_per_arm power_share minimum_detectable_difference"),
        ("abtest --baseline 70% --target 75% --paired --discordant 15%", "sample_size_cases power_share"),
        ("voice --target 1.5s --endpoint 15s/20s", "mouth_to_ear_p50_ms mouth_to_ear_p95_ms over_target_share"),
        ("agree - --order a,b,c", "raw_agreement_share cohens_kappa cohens_kappa_linear cohens_kappa_quadratic"),
        ("agree - --order a,b,c", "fleiss_kappa krippendorff_alpha krippendorff_alpha_ordinal"),
        ("tokens --approximate --text 'What does it cost? Что?'", "tokens tokens_low tokens_high"),
    ],
)
def test_the_filled_in_formula_gives_the_figure(command: str, names: str) -> None:
    words = [one.strip("'") for one in re.findall(r"'[^']*'|\S+", command)]
    ratings = "x,y\na,a\na,b\nb,b\nc,b\nc,c\na,a\n"
    found = run_json(*words, "--explain", stdin=ratings if "-" in words else None)
    for name in names.split():
        value = found[name] / 1000 if name.endswith("_ms") else found[name]
        assert computed(found["explained"][name]["filled"]) == pytest.approx(value, rel=1e-4), name
