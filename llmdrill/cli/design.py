"""`llmdrill design` and `llmdrill resume`: the walk."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmdrill.cli import options  # noqa: TC001 - typer reads the annotations
from llmdrill.errors import EXIT_NO, InterruptedByPersonError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdrill.cli.ask import Source
    from llmdrill.lab.background import Warmup
    from llmdrill.retrieval.embed import Embedder
    from llmdrill.scale.result import WalkResult
    from llmdrill.scale.walk import Walk
    from llmdrill.scale.workbench import Workbench
    from llmdrill.store import Session, Store
    from llmdrill.system.scenario import ScenarioFile

AFTER_PROMPT_S = 0.2  # torch's import holds the interpreter: the first prompt is on the screen before it begins
DEMO_READING_S = 25.0  # what reading the demo's answers may take in all; the whole demo stays under a minute


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """How a walk is run."""

    out: Path | None
    json: bool
    plain: bool
    seed: int
    embedder: str | None
    minutes: float | None
    time_scale: float = 1.0


def design(
    scenario: Annotated[
        str | None, typer.Argument(help="A scenario's name, or a file of your own. None: list them.")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Replay the shipped answers to the full, measured report.")
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="With --demo: do not wait as a reader would.")] = False,
    answers: Annotated[
        Path | None, typer.Option("--answers", help="Replay this answers file; no terminal needed.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the design file and the report.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=1, max=600, help="Time to aim for.")] = None,
    no_timer: Annotated[bool, typer.Option("--no-timer", help="No clock.")] = False,
    json_: options.Json = False,
    plain: options.Plain = False,
    seed: options.Seed = 0,
    embedder: options.Embedder = None,
    gate: Annotated[bool, typer.Option("--gate", help="Exit 1 unless every requirement passes.")] = False,
    time_scale: Annotated[float, typer.Option("--time-scale", hidden=True)] = 1.0,
) -> None:
    """Walk through a scenario: Scenario, Components, Architecture, Latency & cost, Evaluation."""
    if scenario is None:
        from llmdrill.cli.scenario import print_scenarios

        print_scenarios(json_=json_)
        return
    from llmdrill.system.scenario import load_scenario

    if minutes is not None and not minutes > 0:  # nan is no range error to typer
        raise UsageError("--minutes must be a number from 1 to 600")
    file = load_scenario(scenario)
    _need_folder(out)
    limit = None if no_timer else minutes or float(file.scenario.minutes)
    chosen = WalkOptions(out, json_, plain, seed, embedder, limit, time_scale)
    if demo:
        answers = file.folder / "answers" / "demo.answers.yaml"
    if answers is not None:
        result = _replay(file, answers, chosen, reading_s=DEMO_READING_S if demo and not fast else 0.0)
    else:
        _need_terminal(scenario)
        result = _walk_with_person(file, scenario, chosen)
    if gate and any(verdict.result != "pass" for verdict in result.mine.verdicts):
        raise typer.Exit(EXIT_NO)


def resume(
    session: Annotated[int | None, typer.Argument(help="Which one; default the latest.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only list what is open.")] = False,
    plain: options.Plain = False,
) -> None:
    """Go on with a walk that was left or interrupted."""
    from llmdrill.folders import home_folder
    from llmdrill.store import Store

    with Store(home_folder()) as store:
        found = store.open_sessions("design")
        if list_ or (session is None and not found):
            _print_sessions(found)
            return
        chosen = store.session(session) if session is not None else found[0]
        if chosen.finished_at is not None:
            raise UsageError(f"session {chosen.id} is finished; `llmdrill resume --list` shows the open ones")
        if session is None and len(found) > 1:
            _print_sessions(found)
        _need_terminal(chosen.subject)
        _continue(store, chosen, plain=plain)


def _need_folder(out: Path | None) -> None:
    """Refuse an output folder that cannot be written before anything is asked or run."""
    folder = out or Path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{folder}: cannot write there ({error.strerror}); give --out a folder you own") from error


def _need_terminal(scenario: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            f"this walk asks questions and there is no terminal; run `llmdrill design {scenario} --demo`,"
            f" or `llmdrill design {scenario} --answers FILE` (docs/answers-format.md)"
        )


def _print_sessions(sessions: tuple[Session, ...]) -> None:
    if not sessions:
        typer.echo("No open walk. `llmdrill design` lists the scenarios.")
    for one in sessions:
        typer.echo(f"{one.id}  {one.subject}  last saved {one.updated_at}  (llmdrill resume {one.id})")


# --- the two ways to walk ----------------------------------------------------------------------------------------


def _replay(file: ScenarioFile, answers: Path, chosen: WalkOptions, *, reading_s: float) -> WalkResult:
    from llmdrill.cli.ask import Script
    from llmdrill.scale.answers import load_answers
    from llmdrill.scale.walk import Walk

    texts = load_answers(answers, file.scenario)
    run = _Run(file, chosen)
    reading_s = reading_s * chosen.time_scale if sys.stdout.isatty() else 0.0
    source = Script(texts, run.terminal, reading_s=reading_s)
    return run.go(source, None, None, Walk())


def _walk_with_person(file: ScenarioFile, name: str, chosen: WalkOptions) -> WalkResult:
    from llmdrill.cli.ask import Person
    from llmdrill.cli.walk_session import utc_now
    from llmdrill.folders import home_folder
    from llmdrill.scale.walk import Walk
    from llmdrill.store import Store

    subject = name if file.path.stem == name else str(file.path.resolve())
    kept = {"minutes": chosen.minutes, "out": str((chosen.out or Path.cwd()).resolve()), "seed": chosen.seed}
    kept |= {"json": chosen.json, "embedder": chosen.embedder}
    with Store(home_folder()) as store:
        options_text = {key: str(value) for key, value in kept.items() if value is not None}
        sha256 = file.located.sha256
        session = store.start_session(
            kind="design", subject=subject, subject_sha256=sha256, options=options_text, now=utc_now()
        )
        return _Run(file, chosen).go(Person(), store, session, Walk())


def _continue(store: Store, session: Session, *, plain: bool) -> WalkResult:
    from llmdrill.cli.ask import Person
    from llmdrill.scale.walk import Event, refit
    from llmdrill.system.scenario import load_scenario

    file = load_scenario(session.subject)
    if file.located.sha256 != session.subject_sha256:
        typer.echo(f"Note: {file.path} has changed since this walk began; answers that still fit are kept.", err=True)
    kept = session.options
    minutes = float(kept["minutes"]) if "minutes" in kept else None
    chosen = WalkOptions(
        Path(kept["out"]), kept.get("json") == "True", plain, int(kept.get("seed", "0")), kept.get("embedder"), minutes
    )
    events = store.events(session.id)
    saved = [Event(one.kind, one.item, one.text, one.seconds) for one in events]  # type: ignore[arg-type] # as saved
    walk = refit(file.scenario, saved)
    typer.echo(
        f"Going on with walk {session.id} ({session.subject}): {len(walk.entries)} answers and views are kept.",
        err=True,
    )
    return _Run(file, chosen).go(Person(), store, session, walk, already=len(events))


class _Run:
    """One run of the walk: terminal, lab in the background, and at the end the files."""

    def __init__(self, file: ScenarioFile, chosen: WalkOptions) -> None:
        from llmdrill.report.terminal import Terminal

        self.file, self.chosen = file, chosen
        stream = sys.stderr if chosen.json else sys.stdout
        self.terminal = Terminal(stream, plain=True if chosen.plain else None)
        self._warmup: Warmup[Embedder] | None = None
        self._bench: Workbench | None = None

    def go(
        self, source: Source, store: Store | None, session: Session | None, walk: Walk, *, already: int = 0
    ) -> WalkResult:
        """Walk to the end, write the files, and say where they are."""
        from llmdrill.cli.walk_session import Saved, WalkSession, utc_now
        from llmdrill.cli.walk_shows import Shows

        shows = Shows(self.file.scenario, terminal=self.terminal, bench=self.bench)
        walking = WalkSession(
            self.file.scenario,
            terminal=self.terminal,
            source=source,
            shows=shows,
            saved=Saved(store, session, already),
            walk=walk,
            minutes=self.chosen.minutes,
            on_first_prompt=self._start_loading,
        )
        walk = walking.run()
        try:
            result = shows.result(walk)
            document = self._write(result, overwrite=self.chosen.out is not None and session is None)
        except InterruptedByPersonError as error:
            raise InterruptedByPersonError(f"interrupted: {walking.saved.how_to_resume}") from error
        if store is not None and session is not None:
            import json

            store.finish_session(session.id, document=json.dumps(document), now=utc_now())
        return result

    def bench(self) -> Workbench:
        """Return the workbench, made at its first use: numpy is not needed for the first prompt."""
        if self._bench is None:
            from llmdrill.folders import cache_folder
            from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache
            from llmdrill.scale.workbench import Workbench

            cache = DiskEmbeddingCache(cache_folder() / "embeddings")
            self._bench = Workbench(self.file, load_embedder=self._load_embedder, cache=cache, seed=self.chosen.seed)
        return self._bench

    def _start_loading(self) -> None:
        from llmdrill.lab.background import Warmup

        load = embedder_loader(self.chosen.embedder)

        def load_after_prompt() -> Embedder:
            time.sleep(AFTER_PROMPT_S)
            return load()

        self._warmup = Warmup(load_after_prompt).start()

    def _load_embedder(self) -> Embedder:
        if self._warmup is None:
            self._start_loading()
        if self._warmup is None:  # pragma: no cover - for the type checker
            raise UsageError("the embedding model was not started")
        return self._warmup.result()

    def _write(self, result: WalkResult, *, overwrite: bool) -> dict[str, Any]:
        from llmdrill.cli.show import emit_json
        from llmdrill.cli.walk_files import write_walk
        from llmdrill.scale.result import result_json

        written = write_walk(
            result, self.bench().design_text(result.walk.answers), self.chosen.out or Path(), overwrite=overwrite
        )
        document = result_json(result, design_file=str(written.design), report_file=str(written.report))
        if self.chosen.json:
            emit_json(document)
        self.terminal.line("")
        self.terminal.line(f"Design:  {written.design}")
        self.terminal.line(f"Report:  {written.report}")
        measured = f" --measured {written.measured}" if written.measured else " --estimated-only"
        if written.measured:
            self.terminal.line(f"Measured: {written.measured}")
        self.terminal.line(f"In CI:   llmdrill check {written.design}{measured}")
        return document


def embedder_loader(path: str | None) -> Callable[[], Embedder]:
    """Return the work that loads the embedding model: the installed one, or a folder."""

    def load() -> Embedder:
        from llmdrill.lab.embed import load_minilm

        return load_minilm(Path(path).expanduser() if path else None)

    return load
