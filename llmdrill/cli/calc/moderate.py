"""`llmdrill calc moderate`: cost, latency, people and mistakes of a tiered moderation pipeline."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer resolves annotations
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import quantity, share
from llmdrill.errors import ContentError, UsageError, did_you_mean, nearest_names
from llmdrill.units import format_count, format_seconds, format_share, format_usd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.moderation import Tier, TierFlow
    from llmdrill.located import Located
    from llmdrill.table import Table

_EXAMPLE: Final = (
    "--tier 'rules,usd=0,latency=1ms,escalate=90%,precision=95%,recall=40%' "
    "--tier 'llm,usd=0.0004,latency=900ms,escalate=5%,escalate_harmful=40%,precision=90%,recall=85%' "
    "--tier 'people,usd=0.25,latency=2h,reviews_per_h=60,precision=98%,recall=95%'"
)
_ASSUMED: Final[Mapping[str, str]] = {"messages": "1M", "base-rate": "1%", "hours": "6h"}
_SHARES: Final = ("escalate", "escalate_harmful", "precision", "recall", "flag")
_KEYS: Final = ("usd", "latency", *_SHARES, "reviews_per_h")
_SHOWN: Final = ("precision_share", "recall_share")


def moderate(
    *,
    tier: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,KEY=VALUE,…",
            help="One tier, in order; repeat it. Keys: usd and latency of a message, escalate (share passed on), "
            "escalate_harmful (share of its harmful ones passed on), two of precision, recall and flag (share removed) "
            "of what it decides itself, reviews_per_h where people decide.",
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="The tiers as YAML: a list under `tiers`, same keys.")] = None,
    messages: Annotated[str | None, typer.Option(help="Messages a day. Default 1M, assumed.")] = None,
    base_rate: Annotated[str | None, typer.Option(help="Harmful share of them. Default 1%, assumed.")] = None,
    hours: Annotated[str | None, typer.Option(help="Hours a day that a person reviews. Default 6h, assumed.")] = None,
) -> Answer:
    """Cost, latency, human load and mistakes of a tiered pipeline.

    \b
    An example of three tiers:
      llmdrill calc moderate
        --tier rules,usd=0,latency=1ms,escalate=90%,precision=95%,recall=40%
        --tier llm,usd=0.0004,latency=900ms,escalate=5%,precision=90%,recall=85%
        --tier people,usd=0.25,latency=2h,reviews_per_h=60,precision=98%,recall=95%
    """  # noqa: D301 - the escape keeps the lines of the example in --help
    from llmdrill.estimate.moderation import explain_moderation, moderation_flow

    tiers = _tiers(tier or (), file)
    given = {"messages": messages, "base-rate": base_rate, "hours": hours}
    text = {name: _ASSUMED[name] if one is None else one for name, one in given.items()}
    many, harmful = quantity("messages", text["messages"], "count"), share("base-rate", text["base-rate"])
    flows = moderation_flow(tiers, messages_per_day=many, base_rate=harmful)
    hours_per_day = quantity("hours", text["hours"], "seconds", bare_unit="h") / 3600
    figures = explain_moderation(flows, hours_per_day=hours_per_day)
    known = {one.name for one in figures}
    return Answer(
        calculator="moderate",
        lines=_lines(figures),
        figures=figures,
        inputs={"messages_per_day": many, "base_rate_share": harmful, "hours_per_day": hours_per_day},
        notes=_notes(tiers, [name for name, one in given.items() if one is None]),
        unknown=tuple(name for name in _SHOWN if name not in known),
        tables=(_table(flows),),
    )


def _tiers(texts: Sequence[str], file: Path | None) -> tuple[Tier, ...]:
    if bool(texts) == (file is not None):
        told = "give --tier or --file, not both" if texts else "no tier given"
        raise UsageError(f"{told}; a pipeline is {_EXAMPLE}")
    if file is not None:
        return _from_file(file)
    return tuple(_tier(*_pairs(text)) for text in texts)


def _pairs(text: str) -> tuple[str, dict[str, str]]:
    """Return name and settings of ``rules,usd=0,latency=1ms``."""
    name, *settings = (part.strip() for part in text.split(","))
    if not name or "=" in name:
        raise UsageError(f"--tier '{text}' has no name; begin with it: --tier 'rules,usd=0,latency=1ms'")
    pairs: dict[str, str] = {}
    for setting in settings:
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals or not value:
            raise UsageError(f"--tier '{name}': '{setting}' is no KEY=VALUE")
        if key in pairs:
            raise UsageError(f"--tier '{name}': {key} is given twice")
        pairs[key] = value
    return name, pairs


def _tier(name: str, pairs: Mapping[str, str]) -> Tier:
    from llmdrill.estimate.moderation import Tier

    for key in pairs:
        if key not in _KEYS:
            hint = did_you_mean(nearest_names(key, _KEYS)) or f"; one of {', '.join(_KEYS)}"
            raise UsageError(f"tier '{name}': unknown key '{key}'{hint}")
    missing = [key for key in ("usd", "latency") if key not in pairs]
    if missing:
        raise UsageError(f"tier '{name}': {' and '.join(missing)} missing; 0 is a value too")
    try:
        shares = {key: share(key, pairs[key]) if key in pairs else None for key in _SHARES}
        reviews = quantity("reviews_per_h", pairs["reviews_per_h"], "count") if "reviews_per_h" in pairs else None
        usd = quantity("usd", pairs["usd"], "usd", zero=True)
        latency_s = quantity("latency", pairs["latency"], "seconds", zero=True)
    except UsageError as error:
        raise UsageError(f"tier '{name}': {str(error).removeprefix('--')}") from None
    return Tier(
        name=name,
        usd=usd,
        latency_s=latency_s,
        escalate_share=shares["escalate"] or 0.0,
        precision=shares["precision"],
        recall=shares["recall"],
        flag_share=shares["flag"],
        escalate_harmful_share=shares["escalate_harmful"],
        reviews_per_h=reviews,
    )


def _from_file(file: Path) -> tuple[Tier, ...]:
    from llmdrill.content import load_yaml

    located = load_yaml(file)
    data = located.data
    listed = data.get("tiers") if isinstance(data, dict) else None
    if not isinstance(listed, tuple) or not listed:
        raise ContentError([located.mistake((), "must hold a list under the key 'tiers'")])
    if set(data) != {"tiers"}:
        raise ContentError([located.mistake((), "holds more than the key 'tiers'; give the rest as options")])
    return tuple(_located_tier(located, number, one) for number, one in enumerate(listed))


def _located_tier(located: Located, number: int, one: object) -> Tier:
    def wrong(what: str) -> ContentError:
        return ContentError([located.mistake(("tiers", number), what)])

    if not isinstance(one, dict) or not isinstance(one.get("name"), str):
        raise wrong("must be a mapping with a name")
    if any(isinstance(value, dict | tuple | bool) or value is None for value in one.values()):
        raise wrong("every value must be a number or a quantity such as 5ms or 90%")
    try:
        return _tier(one["name"], {str(key): str(value) for key, value in one.items() if key != "name"})
    except UsageError as error:
        raise wrong(str(error)) from None


def _lines(figures: Sequence[Explained]) -> tuple[str, ...]:
    value = {one.name: one.value for one in figures}
    return (
        (
            f"{format_usd(value['usd_per_message'])} per message, {format_usd(value['usd_per_month'])} per month; "
            f"mean latency {format_seconds(value['mean_latency_ms'])}"
        ),
        (
            f"{value['humans_needed']:.3g} people for {format_count(value['human_reviews_per_day'])} reviews a day; "
            f"{format_count(value['missed_harm_per_day'])} harmful messages missed and "
            f"{format_count(value['wrongly_removed_per_day'])} harmless ones removed a day"
        ),
    )


def _notes(tiers: Sequence[Tier], unsaid: Sequence[str]) -> tuple[str, ...]:
    blind = [f"'{tier.name}'" for tier in tiers if tier.escalate_share and tier.escalate_harmful_share is None]
    notes = ["precision and recall of a tier count only the messages it decides itself, not those it passes on"]
    if blind:
        notes.append(
            f"assumed: {', '.join(blind)} passes on harmful and harmless messages alike; escalate_harmful says better"
        )
    if unsaid:
        notes.append(f"assumed: {', '.join(f'--{name} {_ASSUMED[name]}' for name in unsaid)}")
    return tuple(notes)


def _table(flows: Sequence[TierFlow]) -> Table:
    from llmdrill.table import Table

    total = flows[0].messages
    rows = tuple(
        (
            flow.tier.name,
            flow.messages,
            flow.decided,
            flow.escalated,
            flow.decided / total,
            flow.removed_rightly,
            flow.removed_wrongly,
            flow.missed,
            flow.flag_share,
            1000 * flow.wait_s,
            flow.messages * flow.tier.usd,
        )
        for flow in flows
    )
    columns = (
        "tier",
        "messages",
        "decided",
        "escalated",
        "exit_share",
        "removed_rightly",
        "removed_wrongly",
        "missed",
        "flag_share",
        "latency_at_exit_ms",
        "usd_per_day",
    )
    return Table("tiers", columns, rows, note=f"messages a day; exit shares add up to {format_share(1)}")
