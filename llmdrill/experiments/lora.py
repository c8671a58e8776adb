"""`llmdrill lab lora`: adapters of several ranks, all weights, or a prompt: what each learns, forgets and holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.explain import figure
from llmdrill.estimate.lora import explain_lora_parameters, lora_matrices, lora_parameters
from llmdrill.estimate.training_memory import find_optimizer, model_states
from llmdrill.experiments.record import record_of
from llmdrill.experiments.result import Experiment, Finding, Protocol, over_rounds
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import MS_PER_S, format_count, format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.estimate.lora import Matrix
    from llmdrill.lab.lora_run import LoraConfig, LoraRun, Loss, Trained

OPTIMIZER: Final = "adamw-fp32"
FROZEN_FLOPS, TRAINED_FLOPS = 4, 6  # a weight and token: forward 2, gradient of the input 2, of the weight 2
INTERVAL: Final = "low and high: 95 % interval over windows"
LEARNED: Final = "fall of the loss in the new style, so below 0 it rose"
FORGOT: Final = "rise of the loss in the old style, so below 0 it fell"
MOMENTS: Final = "two moments, and a step counter a tensor"
EXAMPLE: Final = (
    "def read_all(file_name):\n    with open(file_name, 'rb') as open_file:\n        return open_file.read()\n"
)


def measure_lora(
    config: LoraConfig,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Adapt the model to another style of code in every way, and say what was learned, forgotten and held in memory.

    Raises:
        MissingExtraError, ModelFileError, UsageError: As ``run_lora`` says.

    Error:
        Predicted bytes leave out the step counter that the optimizer keeps of each tensor (4 bytes). The predicted
        ratio of steps counts products with the layers' matrices alone: no attention, head, adapters or optimizer.
    Source:
        As ``run_lora`` and ``new_adapters`` say.
    """
    from llmdrill.lab.lora_run import run_lora
    from llmdrill.lab.machine import this_machine

    started = now()
    run, machine = run_lora(config, seed=seed, say=say, now=now), this_machine()
    return Experiment(
        name="lora",
        title="Another style of code: low-rank adapters against all weights and against a prompt",
        inputs={
            "model": config.model or "embedded",
            "ranks": list(config.ranks),
            "steps": config.steps,
            "batch_windows": config.batch_windows,
            "window_tokens": config.window_tokens,
            "prompt_tokens": config.prompt_tokens,
            "rate": config.rate,
            "full_rate": config.full_rate,
            "train_files": run.train_files,
            "test_files": run.test_files,
            "trained_tokens": run.trained_tokens,
        },
        findings=(*_quality(run), *_memory(run), *_steps(run)),
        tables=(_table(run),),
        pictures=(_outcome_picture(run), _training_picture(run)),
        meaning=_meaning(run),
        machine=machine,
        protocol=Protocol(seed, 1, max(1, config.steps - 1), machine.threads, now() - started),
        notes=tuple(_notes(run)),
        lines=_example(),
    )


def _adapters(run: LoraRun) -> tuple[Trained, ...]:
    return tuple(sorted((one for one in run.trained if one.rank is not None), key=lambda one: one.rank or 0))


def _middle(run: LoraRun) -> Trained:
    """Return the training of the middle rank, which the findings are of: chosen before anything is seen."""
    found = _adapters(run)
    return found[len(found) // 2]


def _full(run: LoraRun) -> Trained:
    return next(one for one in run.trained if one.rank is None)


def _quality(run: LoraRun) -> Iterator[Finding]:
    lora, full = _middle(run).judged, _full(run).judged
    before = run.before
    for name, value in (("before_new_style_nats", before.new_style), ("before_old_style_nats", before.old_style)):
        measured = None if value is None else value.nats_per_token
        yield Finding(name, measured, n=run.test_tokens, weights_matter=True, note="a token, on other modules")
    for name, judged in (("lora", lora), ("full", full)):
        yield _change(f"{name}_learned_nats", judged.new_style, run, sign=-1, note=f"{judged.name}: {LEARNED}")
        if judged.old_style is not None:
            yield _change(f"{name}_forgot_nats", judged.old_style, run, note=f"{judged.name}: {FORGOT}")
    for name, judged in zip(("prompt_learned_nats", "old_style_prompt_learned_nats"), run.prompted, strict=True):
        note = f"nothing trained, examples before the window: {LEARNED}"
        yield _change(name, judged.new_style, run, sign=-1, note=note)
    worst = max(one.merge_difference or 0.0 for one in _adapters(run))
    yield Finding("merge_difference_logits", worst, note="largest of all ranks, adapters beside or within the matrices")


def _change(name: str, loss: Loss, run: LoraRun, *, note: str, sign: int = 1) -> Finding:
    middle, half = sign * loss.change_nats, loss.change_half_width_nats
    note = f"{note}; {INTERVAL}"
    return Finding(name, middle, None, middle - half, middle + half, run.test_tokens, weights_matter=True, note=note)


def _memory(run: LoraRun) -> Iterator[Finding]:
    matrices = _matrices(run)
    lora, full = _middle(run), _full(run)
    predicted = explain_lora_parameters(matrices, rank=lora.rank or 0)
    counted = float(lora.trainable_parameters)
    yield Finding("lora_trained_parameters", counted, predicted.value, formula=predicted.filled, note=lora.judged.name)
    yield Finding("lora_trained_share", counted / run.decoder.shape.parameters, note="of the model's own parameters")
    for name, one in (("lora", lora), ("full", full)):
        parameters = predicted.value if one is lora else float(run.decoder.shape.parameters)
        yield from _training_bytes(name, one, parameters)


def _training_bytes(name: str, one: Trained, parameters: float) -> Iterator[Finding]:
    optimizer = find_optimizer(OPTIMIZER)
    states = model_states(parameters=parameters, optimizer=optimizer)
    for kind, counted, predicted, each, note in (
        ("gradient", one.gradient_bytes, states.gradients_bytes, optimizer.gradients_bytes, "of what is trained"),
        ("optimizer", one.optimizer_bytes, states.optimizer_bytes, optimizer.states_bytes, MOMENTS),
    ):
        formula = f"trained parameters × {each:g} = {figure(parameters)} × {each:g} = {figure(predicted)} B"
        yield Finding(f"{name}_{kind}_bytes", float(counted), predicted, formula=formula, note=note)


def _matrices(run: LoraRun) -> tuple[Matrix, ...]:
    return lora_matrices(record_of(run.decoder.shape))


def _steps(run: LoraRun) -> Iterator[Finding]:
    lora, full = _middle(run), _full(run)
    for name, one in (("lora", lora), ("full", full)):
        times = [MS_PER_S * seconds for seconds in one.step_timing.seconds]
        note = "forward, backward and update; low and high are the fastest and the slowest step"
        yield over_rounds(f"{name}_step_ms", times, note=note)
    ratio = lora.step_timing.median_s / full.step_timing.median_s
    formula = f"({FROZEN_FLOPS} N) / ({TRAINED_FLOPS} N)"
    note = "frozen matrices still pass gradients back; all weights also cost the optimizer time"
    yield Finding("lora_step_ratio", ratio, FROZEN_FLOPS / TRAINED_FLOPS, formula=formula, note=note)


def _table(run: LoraRun) -> Table:
    matrices = _matrices(run)
    rows: list[tuple[str | float | int | None, ...]] = []
    for one in (*_adapters(run), _full(run)):
        predicted = None if one.rank is None else lora_parameters(matrices, rank=one.rank)
        size = (one.trainable_parameters, predicted, one.gradient_bytes + one.optimizer_bytes)
        rows.append((one.judged.name, *size, *_nats(one.judged.new_style), *_nats(one.judged.old_style)))
    rows += [
        (one.name, 0, None, 0, *_nats(one.new_style), *_nats(one.old_style)) for one in (run.before, *run.prompted)
    ]
    columns = ("way", "trained_parameters", "predicted_parameters", "training_bytes")
    return Table(
        "ways to adapt",
        (*columns, "new_style_nats", "new_style_change_nats", "old_style_nats", "old_style_change_nats"),
        tuple(rows),
        "training_bytes: gradients and optimizer state, counted on the tensors; a prompt changes no weight; change: of"
        " the loss from before, below 0 where something was learned, above 0 where something was forgotten",
    )


def _nats(loss: Loss | None) -> tuple[float | None, float | None]:
    return (None, None) if loss is None else (round(loss.nats_per_token, 4), round(loss.change_nats, 4))


def _outcome_picture(run: LoraRun) -> Picture:
    judged = [one.judged for one in (*_adapters(run), _full(run))]
    places = tuple(float(at) for at in range(len(judged)))
    series = (
        Series("new style", places, tuple(one.new_style.change_nats for one in judged)),
        Series("old style", places, tuple(one.old_style.change_nats if one.old_style else 0.0 for one in judged)),
    )
    labels = tuple(one.name for one in judged)
    return Picture("Learned (below 0) and forgotten (above)", "", "change of the loss, nats", series, "bars", labels)


def _training_picture(run: LoraRun) -> Picture:
    series = tuple(
        Series(one.judged.name, tuple(float(step) for step in range(1, len(one.losses) + 1)), one.losses)
        for one in (*_adapters(run), _full(run))
    )
    return Picture("Loss of each step's batch", "step", "nats per token", series)


def _meaning(run: LoraRun) -> tuple[str, str]:
    lora, full, prompt = _middle(run), _full(run), run.prompted[0]
    share = format_share(lora.trainable_parameters / run.decoder.shape.parameters)
    new = [_moved(one.new_style) for one in (lora.judged, full.judged, prompt)]
    first = (
        f"With adapters of rank {lora.rank}, {share} of the weights, the loss in the new style {new[0]} nats a token,"
        f" with all weights it {new[1]}, and with examples in the prompt it {new[2]}."
    )
    held = (lora.gradient_bytes + lora.optimizer_bytes) / (full.gradient_bytes + full.optimizer_bytes)
    old = [_moved(one.judged.old_style) for one in (lora, full)]
    second = (
        f"In the old style it {old[0]} with adapters and {old[1]} with all weights, and the adapters' gradients and"
        f" optimizer state take {format_share(held)} of the bytes of full training."
    )
    return first, second


def _moved(loss: Loss | None) -> str:
    """Say which way a loss went, in words that bear the sign."""
    change = loss.change_nats if loss else 0.0
    return f"{'falls' if change < 0 else 'rises'} by {abs(change):.3f}"


def _notes(run: LoraRun) -> Iterator[str]:
    yield "the new style is the old text rewritten by a program, so it can be made anywhere and nothing else differs"
    yield (
        f"trained on {format_count(run.trained_tokens)} tokens of {run.train_files} held-out modules, judged on"
        f" {run.test_files} others: neither text was in the model's own training"
    )
    yield "trainings take turns step by step on the same batches; one seed and one rate each, not searched for here"
    yield "a prompt costs its tokens again at every request; merged adapters cost nothing when the model runs"


def _example() -> tuple[str, ...]:
    from llmdrill.lab.code_style import restyle

    old, new = (text.rstrip("\n").split("\n") for text in (EXAMPLE, restyle(EXAMPLE) or ""))
    return ("old style:", *(f"  {line}" for line in old), "new style:", *(f"  {line}" for line in new))
