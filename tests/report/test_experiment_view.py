"""An experiment on a terminal, in Markdown, in JSON and as SVG."""

from __future__ import annotations

import dataclasses
import io
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from llmdrill.errors import UsageError
from llmdrill.experiments.result import Experiment, Finding, Protocol, experiment_json
from llmdrill.measurement import Machine
from llmdrill.picture import Picture, Series
from llmdrill.report.blocks import Grid
from llmdrill.report.chart import BAR_COLUMNS, PLOT_ROWS, chart
from llmdrill.report.experiment_view import experiment_view
from llmdrill.report.markdown import to_markdown
from llmdrill.report.svg import write_svg
from llmdrill.report.terminal import Terminal
from llmdrill.table import Table

if TYPE_CHECKING:
    from pathlib import Path

CURVE = Picture(
    "Time by length",
    "tokens",
    "seconds",
    (Series("measured", (1, 10, 100), (1, 10, 100)), Series("predicted", (1, 10, 100), (1, 20, 100))),
    log_x=True,
    log_y=True,
)
BARS = Picture("Bytes", "precision", "bytes", (Series("bytes", (0, 1), (4, 1)),), kind="bars", labels=("fp32", "int8"))
EXPERIMENT = Experiment(
    name="kv",
    title="How large is the cache?",
    inputs={"context_tokens": 64},
    findings=(
        Finding("tensor_bytes", 4096.0, predicted=4096.0, formula="2 * 4 * 8 * 64 = 4,096", n=1),
        Finding("tpot_p50_ms", 10.0, predicted=8.0, low=9.0, high=12.0, n=5, note="fastest and slowest repeat"),
        Finding("loss_nats", None, weights_matter=True),
    ),
    tables=(Table("by context", ("context_tokens", "bytes"), ((64, 4096), (128, 8192))),),
    pictures=(CURVE, BARS),
    meaning=("The cache is as large as the formula says.", "It grows with the context."),
    machine=Machine("A processor", 2, 2, 8_000_000_000, "Linux", (("python", "3.11"),)),
    protocol=Protocol(seed=3, warm_up=1, repeats=5, threads=2, seconds=1.25),
    notes=("random weights: latency and memory only",),
    lines=("1 2 3",),
)


def shown(experiment: Experiment, width: int) -> str:
    stream = io.StringIO()
    Terminal(stream, plain=True, width=width).write(experiment_view(experiment))
    return stream.getvalue()


def test_a_terminal_shows_question_figures_errors_pictures_meaning_and_protocol() -> None:
    text = shown(EXPERIMENT, 100)
    for part in ("How large is the cache?", "exact", "-20.0%", "unknown", "grows with the context", "1 2 3", "seed 3"):
        assert part in text
    assert "- tensor_bytes = 2 * 4 * 8 * 64 = 4,096" in text
    assert "Other weights would change loss_nats" in text


def test_the_meaning_comes_after_the_figures_and_before_pictures_tables_and_notes() -> None:
    text = shown(EXPERIMENT, 100)
    order = (
        "== How large",
        "Predicted and measured",
        "-- What it means\n\nThe cache is as large",
        "Time by length",
        "by context",
        "-- What the figures are\n\n- tpot_p50_ms: fastest",
        "-- How they were predicted\n\n- tensor_bytes =",
        "-- Read with care\n\n- random weights",
        "-- How it was run\n\n- A processor",
    )
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_headings_without_anything_under_them_are_left_out() -> None:
    bare = dataclasses.replace(EXPERIMENT, findings=(Finding("steps", 1.0),), notes=())
    text = shown(bare, 100)
    assert "What the figures are" not in text
    assert "How they were predicted" not in text
    assert "Measured\n" in text


def test_a_note_of_several_figures_is_said_once() -> None:
    twins = tuple(Finding(name, 1.0, note="of all answers", formula="1 + 0") for name in ("a_share", "b_share"))
    text = shown(dataclasses.replace(EXPERIMENT, findings=twins), 100)
    assert text.count("a_share, b_share: of all answers") == 1
    assert text.count("a_share, b_share = 1 + 0") == 1


@pytest.mark.parametrize(
    ("name", "value", "cell"),
    [
        ("tokenize_ms", 0.00959, "0.00959 ms"),
        ("total_p99_ms", 37912.0, "37,900 ms"),
        ("first_token_s", 0.149, "0.149 s"),
        ("step_bytes", 8.78e6, "8.78 MB"),
        ("tokens_per_s", 1676.0, "1.68k"),
        ("peak_flops_per_s", 1.29e10, "12.9 GFLOP/s"),
        ("speed_up_ratio", 2.834, "2.83x"),
        ("layer_exponent_ratio", 1.58, "1.58"),
        ("tiled_difference_ratio", 6.51e-07, "6.51e-07"),
    ],
)
def test_a_figure_is_in_the_unit_of_its_name(name: str, value: float, cell: str) -> None:
    grid = experiment_view(dataclasses.replace(EXPERIMENT, findings=(Finding(name, value),)))[2]
    assert isinstance(grid, Grid)
    assert grid.rows[0][1] == cell


@pytest.mark.parametrize(
    ("matter", "said"), [(0, "same shape would give"), (1, "every figure but b"), (2, "depends on")]
)
def test_the_shorter_list_says_which_figures_depend_on_the_weights(matter: int, said: str) -> None:
    findings = tuple(Finding(name, 1.0, weights_matter=name != "b" or matter > 1) for name in "abc")
    findings = findings if matter else tuple(dataclasses.replace(one, weights_matter=False) for one in findings)
    assert said in shown(dataclasses.replace(EXPERIMENT, findings=findings, notes=()), 100)


@pytest.mark.parametrize(
    ("measured", "predicted", "off"),
    [(0.0, 0.0, "exact"), (3.0, 0.0, ""), (0.0, 3.0, ""), (-0.2, 0.1, ""), (-0.2, -0.1, "-50.0%"), (1.0, 8.0, "8.0x")],
)
def test_an_error_is_a_share_only_of_a_figure_that_has_one(measured: float, predicted: float, off: str) -> None:
    finding = Finding("swapped_bytes", measured, predicted)
    grid = experiment_view(dataclasses.replace(EXPERIMENT, findings=(finding,)))[2]
    assert isinstance(grid, Grid)
    assert grid.rows[0][3] == off


LONG = "a name of many words that goes on and on until no window of forty columns could hold it on a line"


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("width", [40, 60, 80, 110])
def test_every_line_stays_within_the_window(width: int, *, plain: bool) -> None:
    bars = dataclasses.replace(BARS, title=LONG, labels=(LONG, "int8"))
    grouped = dataclasses.replace(bars, series=(*bars.series, Series(LONG, (0, 1), (0.001234, 2))))
    curve = dataclasses.replace(
        CURVE, x_label=LONG, y_label=LONG, series=(dataclasses.replace(CURVE.series[0], name=LONG),)
    )
    wide = Table("w" * 30, tuple(f"column_{at}_bytes" for at in range(12)), (tuple(range(12)), ("words", *range(11))))
    hard = dataclasses.replace(
        EXPERIMENT,
        title=LONG,
        lines=(LONG, f"    {LONG}"),
        pictures=(*EXPERIMENT.pictures, curve, bars, grouped),
        tables=(*EXPERIMENT.tables, wide),
        findings=(
            *EXPERIMENT.findings,
            Finding("a_name_of_so_many_words_that_it_needs_lines_ratio", 1.0, predicted=9.0),
        ),
    )
    stream = io.StringIO()
    Terminal(stream, plain=plain, width=width).write(experiment_view(hard))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    assert any("logarithmic" in line for line in lines)


def test_json_has_every_figure_under_its_name_and_predictions_beside() -> None:
    made = experiment_json(EXPERIMENT)
    assert made["schema"] == "llmdrill/lab-kv@1"
    assert (made["tensor_bytes"], made["loss_nats"], made["context_tokens"]) == (4096.0, None, 64)
    assert made["predicted"] == {"tensor_bytes": 4096.0, "tpot_p50_ms": 8.0}
    assert made["spread"] == {"tpot_p50_ms": [9.0, 12.0]}
    assert made["by_context"] == [{"context_tokens": 64, "bytes": 4096}, {"context_tokens": 128, "bytes": 8192}]
    assert made["machine"]["versions"] == {"python": "3.11"}
    assert made["protocol"]["repeats"] == 5


def test_a_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="context_tokens twice"):
        dataclasses.replace(EXPERIMENT, findings=(Finding("context_tokens", 1.0),))


def test_markdown_keeps_pictures_as_they_are() -> None:
    text = to_markdown(experiment_view(EXPERIMENT))
    assert text.startswith("# How large")
    assert "```\nTime by length" in text


def test_a_line_chart_puts_the_greatest_top_right_and_the_least_bottom_left() -> None:
    lines = chart(CURVE).splitlines()
    grid = lines[2 : 2 + PLOT_ROWS]
    assert grid[0].startswith("100 |")
    assert grid[0].endswith("*")  # both series end there
    assert grid[-1].startswith("  1 |*")
    assert "logarithmic" in lines[1]


def test_bars_are_as_long_as_their_share_of_the_longest() -> None:
    assert chart(BARS).splitlines()[:2] == ["Bytes", "bytes"]
    fp32, int8 = chart(BARS).splitlines()[2:4]
    assert fp32.count("#") == BAR_COLUMNS
    assert int8.count("#") == round(BAR_COLUMNS / 4)
    assert fp32.endswith(" 4")


def test_bars_of_several_series_stand_under_the_label_they_share() -> None:
    two = dataclasses.replace(BARS, series=(Series("seen", (0, 1), (4, 1)), Series("unseen", (1,), (2,))))
    lines = chart(two).splitlines()
    assert lines[2:] == ["fp32", f"  seen    {'#' * 34} 4", "int8", f"  seen    {'#' * 8} 1", f"  unseen  {'#' * 17} 2"]


def test_few_points_are_joined_and_shared_places_explained() -> None:
    text = chart(CURVE)
    assert "..." in text
    assert "* several of them" in text
    many = Series("measured", tuple(range(40)), tuple(range(40)))
    assert "." not in chart(Picture("t", "x", "y", (many,)))


def test_points_that_a_picture_cannot_show_are_refused() -> None:
    with pytest.raises(ValueError, match="2 positions and 1 heights"):
        Series("a", (1, 2), (1,))
    with pytest.raises(ValueError, match="logarithmic"):
        Picture("t", "x", "y", (Series("a", (0,), (1,)),), log_x=True)
    with pytest.raises(ValueError, match="more bars than labels"):
        Picture("t", "x", "y", (Series("a", (0,), (1,)),), kind="bars")


def test_svg_holds_both_pictures_as_text_and_is_the_same_twice(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="drawing SVG needs the extra 'plot'")
    for name in ("a.svg", "b.svg"):
        write_svg(EXPERIMENT.pictures, tmp_path / name)
    first = (tmp_path / "a.svg").read_bytes()
    assert first == (tmp_path / "b.svg").read_bytes()
    root = ET.fromstring(first)  # noqa: S314 - our own file
    words = " ".join(root.itertext())
    assert root.tag.endswith("svg")
    assert all(part in words for part in ("Time by length", "Bytes", "predicted", "int8", "tokens"))


def test_svg_has_numbers_at_its_axes_that_people_read(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="drawing SVG needs the extra 'plot'")
    steps = Picture("Steps", "step", "bytes", (Series("a", (1, 2, 3), (2_000_000, 3_000_000, 9_000_000)),), log_y=True)
    sizes = Picture("Sizes", "tokens", "s", (Series("a", (128, 512, 2048), (0.5, 0.6, 0.7)),), log_x=True)
    write_svg((steps, sizes), tmp_path / "a.svg")
    words = [text.strip() for text in ET.parse(tmp_path / "a.svg").getroot().itertext() if text.strip()]  # noqa: S314 - our own file
    assert {"1", "2", "3", "2M", "5M", "128", "512", "2048"} <= set(words)
    assert not {"1.5", "2.5"} & set(words)


def test_svg_without_a_picture_or_a_place_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="drawing SVG needs the extra 'plot'")
    with pytest.raises(UsageError, match="no picture"):
        write_svg((), tmp_path / "a.svg")
    with pytest.raises(UsageError, match="cannot be written"):
        write_svg(EXPERIMENT.pictures, tmp_path / "none" / "a.svg")
