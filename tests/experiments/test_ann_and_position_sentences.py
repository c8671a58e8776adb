"""What `lab ann` and `lab position` say of made-up runs: each sentence follows its figures."""

from __future__ import annotations

from typing import Any

import pytest

from llmdrill.errors import UsageError
from llmdrill.experiments.ann import AnnOptions, AnnResult
from llmdrill.experiments.ann_shown import (
    ann_findings,
    ann_meaning,
    ann_notes,
    ann_pictures,
    ann_tables,
    best_walk,
    break_even,
)
from llmdrill.experiments.position import PositionOptions, PositionResult
from llmdrill.experiments.position_shown import position_findings, position_meaning
from llmdrill.lab.ann_child import AnnRun, BuiltIndex, Locality, Searched
from llmdrill.lab.position_orders import Ordered
from llmdrill.lab.position_reader import Asked
from llmdrill.lab.position_run import PositionRun, Recalled

MS = 1e-3


def searched(way: str, setting: int | None, share: float, ms: float) -> Searched:
    return Searched(way, setting, (share, share), (share, share), (ms * MS,), (ms * MS / 2,))


def ann_run(*, graph: bool = True, walk_ms: float = 0.1, shares: tuple[float, ...] = (0.9, 0.96, 0.99)) -> AnnRun:
    searches = [
        searched("exact", None, 1.0, 1.0),
        searched("int8", None, 0.99, 2.0),
        searched("binary", None, 0.6, 0.2),
        searched("binary, rescored", 20, 0.8, 0.25),
        searched("binary, rescored", 100, 0.97, 0.5),
    ]
    walks = zip((10, 16, 64), shares, (1, 2, 4), strict=True)
    searches += [searched("hnsw", ef, share, walk_ms * times) for ef, share, times in walks if graph]
    indexes = [BuiltIndex("fp32", 1_536_000, 0.0), BuiltIndex("int8", 387_072, 0.01), BuiltIndex("binary", 48_000, 0.0)]
    indexes += [BuiltIndex("hnsw", 1_807_786, 0.8)] if graph else []
    return AnnRun(tuple(indexes), tuple(searches), Locality(0.7, 0.5, 0.1, 12.0), "" if graph else "needs ann")


def ann_result(real: AnnRun, random: AnnRun) -> AnnResult:
    return AnnResult(AnnOptions(vectors=1000), 384, "words", real, random, 1000, 40, None)


def test_the_walk_that_is_shown_has_the_least_candidates_that_will_do() -> None:
    found = ann_result(ann_run(), ann_run(shares=(0.2, 0.3, 0.4)))
    chosen = best_walk(found)
    assert chosen is not None
    assert chosen.setting == 16
    widest = best_walk(ann_result(ann_run(shares=(0.1, 0.2, 0.3)), ann_run()))
    assert widest is not None
    assert widest.setting == 64


def test_findings_of_search_are_the_chosen_ways_and_bytes_are_predicted() -> None:
    found = ann_result(ann_run(), ann_run(shares=(0.2, 0.3, 0.4)))
    findings = {one.name: one for one in ann_findings(found)}
    assert findings["hnsw_recall_share"].measured == pytest.approx(0.96)
    assert findings["hnsw_queries_per_s"].measured == pytest.approx(5000)
    assert findings["binary_rescored_batch_queries_per_s"].measured == pytest.approx(4000)
    assert findings["random_hnsw_recall_share"].measured == pytest.approx(0.3)
    assert findings["int8_bytes"].predicted == findings["int8_bytes"].measured == 387_072
    assert findings["hnsw_bytes"].error_share == pytest.approx(0, abs=0.01)
    assert findings["break_even_queries"].measured == pytest.approx(0.8 / (1 * MS - 0.2 * MS))
    assert findings["hnsw_ef_search"].measured == 16
    columns = next(iter(ann_tables(found))).columns
    assert columns[:3] == ("way", "setting", "recall_share")
    assert [one.name for one in ann_pictures(found)[0].series][-1] == "HNSW, random vectors"


def test_a_graph_slower_than_the_scan_never_pays_off() -> None:
    assert break_even(build_s=1.0, exact_s=1.0, graph_s=1.0) is None
    found = ann_result(ann_run(walk_ms=2.0), ann_run(shares=(0.2, 0.3, 0.4)))
    assert "so it never pays off here" in ann_meaning(found)[0]
    assert next(one for one in ann_findings(found) if one.name == "break_even_queries").measured is None


def test_what_random_vectors_would_have_said_is_told_as_it_is() -> None:
    gain, trap = ann_meaning(ann_result(ann_run(), ann_run(shares=(0.2, 0.3, 0.4))))
    assert "HNSW finds 96.0% of the true first 10, 96.0% for people's questions, at 5 times the speed" in gain
    assert "and pays off after 1,000 queries" in gain
    assert "would have found 30.0%" in trap
    assert "never judge an index by random vectors" in trap
    assert "no less than on texts here" in ann_meaning(ann_result(ann_run(), ann_run()))[1]


def test_without_a_graph_fewer_bytes_are_told_of() -> None:
    found = ann_result(ann_run(graph=False), ann_run(graph=False))
    assert "int8 finds 99.0% in a quarter of the memory" in ann_meaning(found)[0]
    assert "same binary vectors at the same setting found 97.0%" in ann_meaning(found)[1]
    assert "no HNSW: needs ann" in list(ann_notes(found))
    assert not any("hnsw" in one.name for one in ann_findings(found))


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"vectors": 100}, "100 vectors and 500 queries: at least 256 and 20"),
        ({"queries": 3}, "10,000 vectors and 3 queries"),
        ({"k": 20_000}, "--k 20,000: there are only 10,000 vectors"),
    ],
)
def test_a_search_that_says_nothing_is_refused(asked: dict[str, int], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        AnnOptions(**asked)  # type: ignore[arg-type]


def asked(nats: float) -> tuple[Asked, ...]:
    return tuple(Asked(nats + wobble, exact=nats > -3) for wobble in (-0.1, 0.1, 0.05, -0.05))


def position(
    front: float, middle: float, end: float, *, last: float = 8.0, edges: float = 2.0, few: float = 9.0, **options: Any
) -> PositionResult:
    """Return a result with these gains over -10 nats without the definition."""
    without = asked(-10)
    places = zip((0.0, 0.5, 1.0), (front, middle, end), strict=True)
    depths = [Recalled(1024, at, at, "call", asked(gain - 10), without) for at, gain in places]
    orders = [
        Ordered(order, chunks, 900.0, "call", asked(gain - 10), without)
        for order, chunks, gain in (
            ("best first", 7, 2.0),
            ("edges first", 7, edges),
            ("best last", 7, last),
            ("best last", 2, few),
        )
    ]
    run = PositionRun("modules", 1024, tuple(depths), tuple(orders), (1, 1, 3, 9))
    return PositionResult(PositionOptions(**options), run)


@pytest.mark.parametrize(
    ("gains", "says"),
    [
        ((5.0, 2.0, 5.0), "Lost in the middle, the U: at the front of 1,024 tokens a definition makes its call 5 nats"),
        ((1.0, 5.0, 9.0), "No U, the front is lost"),
        ((1.0, 5.0, 5.0), "No U, the front is lost"),
        ((1.0, 5.0, 2.0), "No U, the middle serves best"),
        ((9.0, 5.0, 1.0), "No U, the front serves best"),
        ((9.0, 5.0, 5.0), "No U, the front serves best"),
        ((5.0, 5.0, 9.0), "No U, only what stands last is recalled better"),
        ((5.0, 5.0, 1.0), "No U, only what stands last is recalled worse"),
        ((5.0, 5.0, 5.0), "No shape that chance would not give over 4 cases"),
    ],
)
def test_the_shape_that_is_told_is_that_of_the_gains(gains: tuple[float, float, float], says: str) -> None:
    assert position_meaning(position(*gains))[0].startswith(says)


def test_what_the_remedies_do_is_told_with_their_sign() -> None:
    told = position_meaning(position(1, 5, 9, last=8, edges=2, few=1))[1]
    assert "put last instead of first gains 6 nats" in told
    assert "both edges, changes nothing beyond chance" in told
    assert "only the 2 best loses 1 nats" in told


def test_findings_of_position_are_gains_differences_and_shares() -> None:
    found = {one.name: one for one in position_findings(position(1, 5, 9))}
    assert found["middle_gain_nats"].measured == pytest.approx(5)
    assert found["middle_minus_front_nats"].measured == pytest.approx(4)
    assert found["middle_minus_end_nats"].measured == pytest.approx(-4)
    assert (found["end_exact_share"].measured, found["front_exact_share"].measured) == (1, 0)
    assert found["without_exact_share"].measured == 0
    assert found["best_last_minus_best_first_nats"].measured == pytest.approx(6)
    assert found["few_best_last_minus_best_first_nats"].measured == pytest.approx(7)
    assert found["retrieved_share"].measured == 0.75


@pytest.mark.parametrize(
    ("asked_for", "why"),
    [
        ({"task": "facts"}, "has read Python source only: answering from facts needs --model"),
        ({"cases": 3}, "--cases 3: fewer than 4"),
        ({"few_chunks": 7}, "--few-chunks 7: must be from 1 to under --chunks 7"),
    ],
)
def test_a_position_run_that_says_nothing_is_refused(asked_for: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        PositionOptions(**asked_for)
