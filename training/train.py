"""Train one decoder: resumable at any kill, decayable from any checkpoint, logged as JSON lines.

    python -m training.train --preset 8m --data build/training --out build/training/8m --minutes 360 --decay-share 0.2

Run it again with the same --out to go on; with --start CHECKPOINT and another --out to begin a new phase, such as a
decay at a longer sequence: --start build/training/8m/checkpoint.pt --minutes 60 --decay-share 1 --sequence 1024.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

# Threads that wait must sleep: where other programs share the cores, spinning ones made a step three times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from training.batches import Place, batches
from training.measure import bits_per_byte, score_tokens
from training.model import PRESETS, Decoder, Shape
from training.optimizer import Rates, optimizers_for, rate_factor
from training.prepare import load_part

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from training.optimizer import Optimizers
    from training.prepare import Part

CHECKPOINT: Final = "checkpoint.pt"
BEFORE_DECAY: Final = "before_decay.pt"  # to go on from at the full rate, should there be time for more
LOG: Final = "log.jsonl"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a phase of training runs; it ends after ``steps`` or ``minutes``, whichever is given."""

    preset: str
    steps: int | None = None
    minutes: float | None = None
    decay_share: float = 0.2
    warmup_steps: int = 50
    sequence: int = 512
    batch_tokens: int = 8192
    micro_tokens: int = 4096
    seed: int = 0
    rates: Rates = field(default_factory=Rates)
    bf16: bool = False
    log_steps: int = 10
    save_minutes: float = 5.0
    measure_minutes: float = 15.0
    measure_windows: int = 48


@dataclass(slots=True)
class Progress:
    """How far a run is; seconds count only while it trains."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    phase_step: int = 0  # where this phase began
    phase_seconds: float = 0.0

    def share(self, plan: Plan) -> float:
        """Return how much of the phase is done."""
        by_steps = (self.step - self.phase_step) / plan.steps if plan.steps else 0.0
        by_time = (self.seconds - self.phase_seconds) / (60 * plan.minutes) if plan.minutes else 0.0
        return max(by_steps, by_time)


class Run:
    """A model being trained: everything that a checkpoint holds."""

    def __init__(self, plan: Plan, part: Part, out: Path, *, device: str) -> None:
        self.plan, self.part, self.out, self.device = plan, part, out, device
        torch.manual_seed(plan.seed)
        self.model = Decoder(shape_for(plan)).to(device)
        self.optimizers: Optimizers = optimizers_for(self.model, plan.rates)
        self.progress, self.place = Progress(), Place()
        self.stopping, self.kept = False, (out / BEFORE_DECAY).exists()

    def step(self, batch: torch.Tensor) -> float:
        """Take one optimizer step on a batch (B, T + 1), and return its mean loss."""
        plan, micro = self.plan, max(1, self.plan.micro_tokens // self.plan.sequence)
        pieces = batch.to(self.device).split(micro)
        total = torch.zeros((), device=self.device)
        for piece in pieces:
            with autocast(self.device, enabled=plan.bf16):
                loss = self.model.loss(piece[:, :-1], piece[:, 1:]) * (len(piece) / len(batch))
            loss.backward()
            total += loss.detach()
        self.optimizers.step(
            rate_factor(
                step=self.progress.step + 1,
                warmup_steps=plan.warmup_steps,
                progress=self.progress.share(plan),
                decay_share=plan.decay_share,
            )
        )
        return float(total)

    def save(self, name: str = CHECKPOINT) -> None:
        """Write a checkpoint; the old one stands until the new one is complete."""
        held = {
            "shape": self.model.shape.saved(),
            "model": self.model.state_dict(),
            "optimizers": self.optimizers.saved(),
            "progress": asdict(self.progress),
            "place": asdict(self.place),
            "sequence": self.plan.sequence,
        }
        waiting = self.out / f"{name}.new"
        torch.save(held, waiting)
        waiting.replace(self.out / name)

    def load(self, checkpoint: Path, *, new_phase: bool) -> None:
        """Go on from a checkpoint; in a new phase the schedule begins anew, at the full rate."""
        held = torch.load(checkpoint, map_location=self.device, weights_only=True)
        self.model.load_state_dict(held["model"])
        self.optimizers.restore(held["optimizers"])
        self.progress, self.place = Progress(**held["progress"]), Place(**held["place"])
        if new_phase:
            self.progress = replace(self.progress, phase_step=self.progress.step, phase_seconds=self.progress.seconds)
        if held["sequence"] != self.plan.sequence:  # other cuts of the text: begin with a fresh epoch
            self.place = Place(epoch=self.place.epoch + 1)

    def train(self, validation: Part | None = None) -> None:
        """Train until the plan is done or a signal asks to stop; both leave a checkpoint."""
        plan, progress = self.plan, self.progress
        saved = measured = time.monotonic()
        stream = batches(
            self.part, self.place, length=plan.sequence, sequences=plan.batch_tokens // plan.sequence, seed=plan.seed
        )
        while not self.stopping and progress.share(plan) < 1:
            if plan.decay_share < 1 and progress.share(plan) >= 1 - plan.decay_share and not self.kept:
                self.save(BEFORE_DECAY)
                self.kept = True
            began = time.monotonic()
            loss = self.step(next(stream))
            progress.step, progress.tokens = progress.step + 1, progress.tokens + plan.batch_tokens
            progress.seconds += time.monotonic() - began
            if progress.step % plan.log_steps == 0:
                self.log(loss=round(loss, 4), tokens_per_s=round(plan.batch_tokens / (time.monotonic() - began)))
            if validation and time.monotonic() - measured > 60 * plan.measure_minutes:
                self.measure(validation)
                measured = time.monotonic()
            if time.monotonic() - saved > 60 * plan.save_minutes:
                self.save()
                saved = time.monotonic()
        self.save()
        if validation and not self.stopping:
            self.measure(validation, windows=None)

    def measure(self, validation: Part, *, windows: int | None = -1) -> None:
        """Log the bits per byte of the validation part, or of evenly spread windows of it."""
        windows = self.plan.measure_windows if windows == -1 else windows
        length = self.plan.sequence
        scores = score_tokens(self.model, validation, length=length, stride=length, windows=windows)
        found = bits_per_byte(scores.bits, validation)
        self.log(validation_bits_per_byte=round(found, 4), windows=windows)

    def log(self, **figures: object) -> None:
        """Add one line to the log."""
        progress = self.progress
        line = {"step": progress.step, "tokens": progress.tokens, "epoch": self.place.epoch}
        line |= {"seconds": round(progress.seconds, 1), **figures}
        with (self.out / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def shape_for(plan: Plan) -> Shape:
    """Return the preset's shape."""
    return PRESETS[plan.preset]


def autocast(device: str, *, enabled: bool) -> AbstractContextManager[Any]:
    """Return bf16 autocast, or nothing."""
    return torch.autocast(device, torch.bfloat16) if enabled else nullcontext()


def start(plan: Plan, data: Path, out: Path, *, checkpoint: Path | None, device: str) -> Run:
    """Return the run of ``out``: where it stopped, else from another run's checkpoint, else from nothing."""
    out.mkdir(parents=True, exist_ok=True)
    run = Run(plan, load_part(data, "train"), out, device=device)
    if (out / CHECKPOINT).exists():
        run.load(out / CHECKPOINT, new_phase=False)
    elif checkpoint is not None:
        run.load(checkpoint, new_phase=True)
    run.log(plan=asdict(plan), device=device, threads=torch.get_num_threads(), torch=torch.__version__)
    return run


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train one decoder.")
    plan = Plan(preset="8m")
    parser.add_argument("--preset", choices=sorted(PRESETS), default=plan.preset)
    parser.add_argument("--data", type=Path, default=Path("build/training"), help="what training.prepare wrote")
    parser.add_argument("--out", type=Path, help="checkpoint and log; default: DATA/PRESET")
    parser.add_argument("--start", type=Path, help="begin a new phase from this checkpoint")
    parser.add_argument("--minutes", type=float, help="of training, over all interruptions")
    parser.add_argument("--steps", type=int, help="instead of minutes: the same losses on every run")
    parser.add_argument("--decay-share", type=float, default=plan.decay_share, help="of the phase, at its end")
    parser.add_argument("--warmup-steps", type=int, default=plan.warmup_steps)
    parser.add_argument("--sequence", type=int, default=plan.sequence)
    parser.add_argument("--batch-tokens", type=int, default=plan.batch_tokens)
    parser.add_argument("--micro-tokens", type=int, default=plan.micro_tokens)
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--muon-rate", type=float, default=plan.rates.muon)
    parser.add_argument("--adam-rate", type=float, default=plan.rates.adam)
    parser.add_argument("--weight-decay", type=float, default=plan.rates.weight_decay)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())
    parser.add_argument("--save-minutes", type=float, default=plan.save_minutes)
    parser.add_argument("--measure-minutes", type=float, default=plan.measure_minutes)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.minutes is None and options.steps is None:
        parser.error("say how long: --minutes or --steps")
    return options


def plan_from(options: argparse.Namespace) -> Plan:
    """Return the plan that the options ask for."""
    rates = Rates(muon=options.muon_rate, adam=options.adam_rate, weight_decay=options.weight_decay)
    asked = {name: value for name, value in vars(options).items() if name in Plan.__dataclass_fields__}
    return Plan(**asked, rates=rates)


def main() -> None:
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    out = options.out or options.data / options.preset
    run = start(plan_from(options), options.data, out, checkpoint=options.start, device=device)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(run, "stopping", True))
    run.train(load_part(options.data, "validation"))


if __name__ == "__main__":
    main()
