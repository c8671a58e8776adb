"""`llmdrill calc voice`: the mouth-to-ear latency budget of a voice agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import quantity
from llmdrill.errors import UsageError
from llmdrill.units import format_seconds, format_share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.voice import Delay
    from llmdrill.table import Table

# Every default is an assumption, said to be one wherever it is used: no figure of a product.
_ASSUMED: Final[Mapping[str, str]] = {
    "capture": "20ms",
    "network-up": "40ms/90ms",
    "endpoint": "500ms",
    "asr": "150ms/300ms",
    "ttft": "350ms/900ms",
    "tpot": "20ms/35ms",
    "clause-tokens": "12",
    "tts": "150ms/300ms",
    "network-down": "40ms/90ms",
    "playout": "60ms",
}
_TRANSPORT: Final = ("capture", "network-down", "playout")
_ONE_WAY_S: Final = 0.150
_TURN_GAP_S: Final = 0.200
_GAP_NOTE: Final = (
    f"people leave gaps of the order of {format_seconds(_TURN_GAP_S)} between turns (review in Frontiers in Psychology "
    "2015, doi:10.3389/fpsyg.2015.00731; in 10 languages the mean is within 250 ms of the common mean: Stivers et al. "
    "2009, doi:10.1073/pnas.0903616106)"
)


def _option(what: str, name: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=f"{what} Default {_ASSUMED[name]}, assumed.")
    return option


def voice(
    *,
    capture: Annotated[str | None, _option("Microphone and one audio frame.", "capture")] = None,
    network_up: Annotated[str | None, _option("From the mouth to the server, as p50/p95.", "network-up")] = None,
    endpoint: Annotated[str | None, _option("Silence until the turn counts as over.", "endpoint")] = None,
    asr: Annotated[str | None, _option("From the end of the turn to the final transcript.", "asr")] = None,
    ttft: Annotated[str | None, _option("The language model's time to its first token.", "ttft")] = None,
    tpot: Annotated[str | None, _option("Its time per further token.", "tpot")] = None,
    clause_tokens: Annotated[str | None, _option("Tokens until a clause can be spoken.", "clause-tokens")] = None,
    tts: Annotated[str | None, _option("From the clause to the first audio.", "tts")] = None,
    network_down: Annotated[str | None, _option("From the server to the ear.", "network-down")] = None,
    playout: Annotated[str | None, _option("Jitter buffer and sound card.", "playout")] = None,
    target: Annotated[str | None, typer.Option(help="The longest wait that is acceptable, such as 800ms.")] = None,
) -> Answer:
    """Mouth-to-ear latency budget of a voice agent."""
    given = {
        "capture": capture,
        "network-up": network_up,
        "endpoint": endpoint,
        "asr": asr,
        "ttft": ttft,
        "tpot": tpot,
        "clause-tokens": clause_tokens,
        "tts": tts,
        "network-down": network_down,
        "playout": playout,
    }
    return _answer(given, None if target is None else quantity("target", target, "seconds"))


def _answer(given: Mapping[str, str | None], limit_s: float | None) -> Answer:
    from llmdrill.estimate.voice import explain_mean, explain_mouth_to_ear, explain_share_above, explain_sum_of_p95

    parts = _parts({name: text if text is not None else _ASSUMED[name] for name, text in given.items()})
    figures: list[Explained] = [
        explain_mouth_to_ear(parts, share=0.5, name="mouth_to_ear_p50_ms"),
        explain_mouth_to_ear(parts, share=0.95, name="mouth_to_ear_p95_ms"),
        explain_mean(parts),
        explain_sum_of_p95(parts),
    ]
    if limit_s is not None:
        figures.append(explain_share_above(parts, limit_s=limit_s))
    largest = max(parts, key=lambda part: part.mean_s)
    assumed = tuple(name for name, text in given.items() if text is None)
    return Answer(
        calculator="voice",
        lines=_lines(figures, parts, largest, limit_s),
        figures=tuple(figures),
        inputs={
            "largest_part": largest.name,
            "target_ms": None if limit_s is None else 1000 * limit_s,
            "assumed": assumed,
        },
        notes=_notes(parts, assumed),
        unknown=() if limit_s is not None else ("over_target_share",),
        tables=(_table(parts, assumed),),
    )


def _parts(texts: Mapping[str, str]) -> tuple[Delay, ...]:
    from llmdrill.estimate.voice import clause_delay, delay

    tokens = quantity("clause-tokens", texts["clause-tokens"], "count")
    each = {name: _percentiles(name, text) for name, text in texts.items() if name != "clause-tokens"}
    if tokens < 1:
        raise UsageError(f"--clause-tokens must be at least 1, got {texts['clause-tokens']}")
    parts = []
    for name, (p50_s, p95_s) in each.items():
        if name == "tpot":
            parts.append(clause_delay("clause", tokens=tokens, tpot_p50_s=p50_s, tpot_p95_s=p95_s))
        else:
            parts.append(delay(name, p50_s=p50_s, p95_s=p95_s))
    return tuple(parts)


def _percentiles(name: str, text: str) -> tuple[float, float]:
    """Return p50 and p95 of ``40ms/90ms``; one value is a constant."""
    p50, slash, p95 = text.partition("/")
    p50_s = quantity(name, p50, "seconds", zero=True, bare_unit="ms")
    p95_s = quantity(name, p95, "seconds", zero=True, bare_unit="ms") if slash else p50_s
    if p95_s < p50_s:
        raise UsageError(f"--{name} {text}: the p95 must not be below the p50; write p50/p95, such as 40ms/90ms")
    if p95_s and not p50_s:
        raise UsageError(f"--{name} {text}: a median of zero with a p95 above it has no spread; give a small p50")
    return p50_s, p95_s


def _lines(
    figures: list[Explained], parts: tuple[Delay, ...], largest: Delay, limit_s: float | None
) -> tuple[str, ...]:
    value = {one.name: one.value for one in figures}
    p50, p95 = value["mouth_to_ear_p50_ms"], value["mouth_to_ear_p95_ms"]
    mean = sum(part.mean_s for part in parts)
    lines = [
        f"mouth to ear: {format_seconds(p50)} at the median, {format_seconds(p95)} at the p95",
        f"largest part: {largest.name}, {format_share(largest.mean_s / mean)} of the mean"
        if mean
        else "no delay at all",
    ]
    if limit_s is not None:
        late = value["over_target_share"]
        lines.append(f"{format_share(late)} of replies come later than {format_seconds(limit_s)}")
    return tuple(lines)


def _notes(parts: tuple[Delay, ...], assumed: tuple[str, ...]) -> tuple[str, ...]:
    one_way = sum(part.p50_s for part in parts if part.name in _TRANSPORT)
    verdict = "within" if one_way <= _ONE_WAY_S else "above"
    notes = [
        "counted from the end of the person's speech to the first sound of the reply; no part overlaps another",
        "assumed: parts are slow independently; the sum of their p95 is the p95 if all are slow together",
        _GAP_NOTE,
        (
            f"transport alone (capture, network down, playout) is {format_seconds(one_way)} one way, {verdict} the "
            f"{format_seconds(_ONE_WAY_S)} that ITU-T G.114 calls acceptable (as Wikipedia sums it up)"
        ),
    ]
    if assumed:
        notes.append(
            f"assumed, not measured: {', '.join(assumed)}; give your own figures as p50/p95, such as 40ms/90ms"
        )
    return tuple(notes)


def _table(parts: tuple[Delay, ...], assumed: tuple[str, ...]) -> Table:
    from llmdrill.table import Table

    mean = sum(part.mean_s for part in parts) or 1.0
    rows = tuple(
        (
            part.name,
            1000 * part.p50_s,
            1000 * part.p95_s,
            part.mean_s / mean,
            "assumed" if (part.name if part.name != "clause" else "tpot") in assumed else "given",
        )
        for part in parts
    )
    return Table("parts", ("part", "p50_ms", "p95_ms", "share_of_mean", "basis"), rows)
