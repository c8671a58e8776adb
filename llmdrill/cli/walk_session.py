"""The walk on a terminal or from an answers file: ask, save, show, until the end."""

from __future__ import annotations

import datetime as dt
import sys
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from llmdrill.cli.ask import COMMANDS, Typed
from llmdrill.errors import InterruptedByPersonError, UsageError
from llmdrill.report import walk_views
from llmdrill.report.blocks import Bullets, Heading, Text
from llmdrill.scale.prompts import STEP_NAMES, Prompt, Show
from llmdrill.scale.walk import Event, Walk, answer, apply, next_item, note, seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdrill.cli.ask import Source
    from llmdrill.cli.walk_shows import Shows
    from llmdrill.report.terminal import Terminal
    from llmdrill.scale.prompts import Item
    from llmdrill.store import Session, Store
    from llmdrill.system.scenario import Scenario

PROMPT_MARK = ">"
SLOW = {
    "confront": "running your design on this machine",
    "evaluation": "measuring your design on this machine",
    "reference": "measuring the reference design",
    "coverage": "looking for evidence in what you wrote",
}


def utc_now() -> str:
    """Return this moment as the store writes it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


class Saved:
    """Where events go as they happen: the store, or nowhere (an answers file can be replayed instead)."""

    def __init__(self, store: Store | None, session: Session | None, already: int = 0) -> None:
        self._store, self._session, self._count = store, session, already

    def save(self, event: Event) -> None:
        """Commit one event."""
        if self._store is None or self._session is None:
            return
        from llmdrill.store import StoredEvent

        stored = StoredEvent(event.kind, event.id, event.text, event.seconds)
        self._store.append_event(self._session.id, self._count, stored, now=utc_now())
        self._count += 1

    @property
    def how_to_resume(self) -> str:
        """Return the sentence that tells how to go on."""
        if self._session is None:
            return "run the same command again"
        return f"everything typed so far is saved; `llmdrill resume {self._session.id}` goes on"


class WalkSession:
    """Drives one walk. The state is all in ``walk``; this class only asks, saves and shows."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        terminal: Terminal,
        source: Source,
        shows: Shows,
        saved: Saved,
        walk: Walk,
        minutes: float | None,
        on_first_prompt: Callable[[], None] = lambda: None,
    ) -> None:
        self.scenario, self.terminal, self.source, self.shows, self.saved = scenario, terminal, source, shows, saved
        self.walk, self.minutes = walk, minutes
        self._on_first_prompt: Callable[[], None] | None = on_first_prompt
        self._step = ""

    def run(self) -> Walk:
        """Go on until nothing is left to ask or show, and return the walk.

        Raises:
            InterruptedByPersonError: On Ctrl-C; everything up to the last line is saved.
            typer.Exit: After ``:quit``.
            UsageError: If an answers file holds an answer that a prompt refuses.
        """
        try:
            while (item := next_item(self.scenario, self.walk)) is not None:
                self._announce(item)
                if isinstance(item, Show):
                    if item.what in SLOW:
                        self.terminal.line(f"({SLOW[item.what]} …)", "dim")
                    self.terminal.write(self.shows.blocks(item, self.walk))
                    self._record(seen(item))
                else:
                    self._ask(item)
        except InterruptedByPersonError as error:
            self.terminal.line("")
            raise InterruptedByPersonError(f"interrupted: {self.saved.how_to_resume}") from error
        except EOFError:
            self._leave()
        return self.walk

    def _announce(self, item: Item) -> None:
        if item.step != self._step:
            self._step = item.step
            self.terminal.write((Heading(walk_views.STEP_TITLES[item.step], 2),))

    def _record(self, event: Event) -> None:
        self.saved.save(event)
        self.walk = apply(self.walk, event)

    # --- asking ---------------------------------------------------------------------------------------------------

    def _ask(self, prompt: Prompt) -> None:
        self.terminal.line("")
        for line, tone in self.shows.prompt_lines(prompt, self.walk):
            self.terminal.line(line, tone)
        if self._on_first_prompt is not None:
            commands = f"(commands: {' '.join(name.split()[0] for name in COMMANDS)}, or :help)"
            self.terminal.line(textwrap.fill(commands, self.terminal.width), "dim")
        spent = 0.0  # on this prompt: refused answers and commands count, a pause does not
        while True:
            label = self._label(prompt)
            if self._on_first_prompt is not None:
                start, self._on_first_prompt = self._on_first_prompt, None
                start()
            try:
                typed = self.source.answer(prompt, label)
            except UsageError as error:  # the editor did not work
                self.terminal.line(str(error), "warn")
                continue
            spent += typed.seconds
            if self._answered(prompt, replace(typed, seconds=spent)):
                return

    def _label(self, prompt: Prompt) -> str:
        """Return what stands before the cursor: step, time left, and what Enter takes."""
        left = ""
        if self.minutes is not None:
            remaining = self.minutes * 60 - self.walk.seconds
            sign, whole = ("-" if remaining < 0 else ""), abs(int(remaining))
            left = f" {sign}{whole // 60}:{whole % 60:02d}"
        default = f" [{_short(prompt.default, self.terminal.width - 20)}]" if prompt.default else ""
        return f"{prompt.step}{left}{default} {PROMPT_MARK} "

    def _answered(self, prompt: Prompt, typed: Typed) -> bool:
        """Take what was typed; tell whether to go on (to the next item, or the previous one)."""
        if typed.command:
            return self._command(prompt, typed)
        try:
            event = answer(self.scenario, self.walk, prompt, typed.text, seconds=typed.seconds)
        except UsageError as error:
            if not self.source.interactive:
                raise UsageError(f"answers file, prompt '{prompt.id}': {error}") from error
            self.shows.refused(prompt, error, self.terminal)
            return False
        self._record(event)
        return True

    def _command(self, prompt: Prompt, typed: Typed) -> bool:
        """Do what a colon command says; True leaves this prompt."""
        match typed.command:
            case "skip":
                return self._answered(prompt, Typed("", seconds=typed.seconds))
            case "back":
                if not any(entry.kind == "answer" for entry in self.walk.entries):
                    self.terminal.line("There is nothing to take back yet.", "dim")
                    return False
                self._record(Event("back"))
                return True
            case "quit" | "q" | "exit":
                self._leave()
            case "pause":
                self.source.wait("Paused; the clock stands. Enter goes on. ")
            case _:
                self._tell(prompt, typed)
        return False

    def _tell(self, prompt: Prompt, typed: Typed) -> None:
        """Answer the commands that only say something."""
        match typed.command:
            case "hint":
                taken = self.walk.hints.count(prompt.step)
                self._record(Event("hint", prompt.step))
                hints = {str(step): found for step, found in self.scenario.hints.items()}.get(prompt.step, ())
                self.terminal.write(walk_views.hint_view(hints, taken))
            case "reveal":
                self._record(Event("reveal", prompt.step))
                self.terminal.write(walk_views.words_view(self.scenario, prompt.step))
            case "note" if typed.text:
                self._record(note(typed.text))
                self.terminal.line("Noted.", "dim")
            case "time":
                self.terminal.line(self._time())
            case "formulas" | "formula":
                self.terminal.write(self.shows.formulas(self.walk, typed.text or None))
            case "help" | "h" | "?":
                items = tuple(f"{name}  {what}" for name, what in COMMANDS.items())
                self.terminal.write((Bullets(items), Text("Anything else is your answer.")))
            case _:
                known = ", ".join(name.split()[0] for name in COMMANDS)
                self.terminal.line(f"':{typed.command}' is no command; there are {known}, :help", "warn")

    def _time(self) -> str:
        spent = f"{self.walk.seconds / 60:.1f} minutes on the answers so far"
        if self.minutes is None:
            return f"{spent}; no limit."
        left = self.minutes - self.walk.seconds / 60
        return f"{spent}; {left:.1f} of {self.minutes:g} left." if left >= 0 else f"{spent}; {-left:.1f} over."

    def _leave(self) -> None:
        self.terminal.line("")
        self.terminal.line(f"Left at {STEP_NAMES[self._step or 'S']}: {self.saved.how_to_resume}.")  # type: ignore[index] # set by _announce
        sys.stdout.flush()
        raise typer.Exit(0)


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
