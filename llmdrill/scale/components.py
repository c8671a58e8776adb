"""C: for each role an option or none, its settings, and one line why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmdrill.errors import UnknownNameError, UsageError, did_you_mean, nearest_names
from llmdrill.scalar import plain_scalar
from llmdrill.scale.prompts import Choice, Prompt, Show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.scale.prompts import Answers, Item
    from llmdrill.system.kinds.base import StageBase
    from llmdrill.system.scenario import Option, Role, Scenario, Value

NONE = "none"


def items(scenario: Scenario, answers: Answers) -> Iterator[Item]:
    """Yield choice, settings, reason and call-out of every role."""
    for role in scenario.roles:
        yield _choice(role)
        option = role.option(answers.get(f"role.{role.id}", NONE))
        if option is not None and option.ask:
            yield _settings(role, option)
        if callout(role, option):
            yield Show(f"show.callout.{role.id}", "C", "callout", role.id)
        yield Prompt(
            f"role.{role.id}.why", "C", "line", f"Why {option.id if option else 'none'}, in a line?", about=role.id
        )


def _choice(role: Role) -> Prompt:
    choices = [Choice(option.id, option.label, option.trade_off) for option in role.options]
    return Prompt(
        id=f"role.{role.id}",
        step="C",
        kind="choice",
        text=f"{role.id}: {role.question}",
        default=NONE,
        choices=(*choices, Choice(NONE, "none", role.none)),
        about=role.id,
    )


def _settings(role: Role, option: Option) -> Prompt:
    shown = ", ".join(f"{name}={_written(option.settings[name])}" for name in option.ask)
    return Prompt(
        id=f"role.{role.id}.settings",
        step="C",
        kind="settings",
        text=f"Settings of {role.id}",
        default=shown,
        detail="name=value, comma between; what you leave out stays as shown.",
        about=role.id,
    )


def _written(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def callout(role: Role, option: Option | None) -> str | None:
    """Return what is called out about this choice: more than the scenario needs, or a needed part left out."""
    if option is None:
        return role.none if role.needed else None
    return option.more_than_needed


def read_settings(option: Option, text: str) -> str:
    """Return the settings typed, checked by name and by the stage kind that takes them.

    Raises:
        UsageError: If a name is unknown, a pair is malformed, or the kind refuses a value.
    """
    from llmdrill.system.settings import check_settings

    typed = parse_settings(option, text)
    _known_hardware(check_settings(option.kind, {**option.settings, **typed}))
    return ", ".join(f"{name}={_written(value)}" for name, value in typed.items())


def _known_hardware(stage: StageBase) -> None:
    """Refuse a self-hosted model or an accelerator that the catalogue does not know: nothing could be computed.

    Raises:
        UsageError: With the nearest names.
    """
    from llmdrill.catalog.load import find_accelerator, find_model
    from llmdrill.system.kinds.model_call import ModelCall

    if isinstance(stage, ModelCall) and stage.served == "self":
        try:
            find_model(str(stage.model))
            find_accelerator(str(stage.on))
        except UnknownNameError as error:
            raise UsageError(str(error)) from error


def parse_settings(option: Option, text: str) -> dict[str, Value]:
    """Return name → value of what was typed."""
    typed: dict[str, Value] = {}
    for pair in _pairs(option, text):
        name, sign, value = (part.strip() for part in pair.partition("="))
        if not sign or not value:
            raise UsageError(f"'{pair.strip()[:60]}' is not name=value; settings here: {', '.join(option.ask)}")
        if name not in option.ask:
            hint = did_you_mean(nearest_names(name, option.ask)) or f"; settings here: {', '.join(option.ask)}"
            raise UsageError(f"unknown setting '{name[:60]}'{hint}")
        try:
            scalar = plain_scalar(value)
        except ValueError as error:
            raise UsageError(f"'{value[:40]}' is too large to be meant") from error
        typed[name] = value if scalar is None else scalar
    return typed


def _pairs(option: Option, text: str) -> list[str]:
    """Return the ``name=value`` parts; in a value that holds pairs (``routes=a=0.3, b=0.7``) only names asked cut."""
    nested = any("=" in str(option.settings[name]) for name in option.ask)
    names = "|".join(map(re.escape, option.ask)) if nested else "[a-z_]+"
    cut = rf"[,;](?=\s*(?:{names})\s*=)|\s+(?=(?:{names})\s*=)"
    parts = re.split(cut if nested else rf"[,;]\s+|{cut}", text.strip())
    return [part for part in parts if part.strip()]


def chosen_options(scenario: Scenario, answers: Answers) -> dict[str, Option]:
    """Return role → option of every role that is filled, in the scenario's order."""
    picked = {role.id: role.option(answers.get(f"role.{role.id}", NONE)) for role in scenario.roles}
    return {name: option for name, option in picked.items() if option is not None}


def settings_of(scenario: Scenario, answers: Answers, role_id: str) -> dict[str, Value]:
    """Return the settings of a filled role: the option's own, changed by what was typed."""
    option = chosen_options(scenario, answers)[role_id]
    return {**option.settings, **parse_settings(option, answers.get(f"role.{role_id}.settings", ""))}
