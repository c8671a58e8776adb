"""The figures and tables of `llmdrill lab paged`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.estimate.explain import figure
from llmdrill.experiments.result import Finding, over_rounds
from llmdrill.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.experiments.paged_forms import PagedForms
    from llmdrill.lab.paged_compare import StepRun
    from llmdrill.lab.paged_lab import Served, Sharing


def paged_findings(
    forms: PagedForms, served: dict[str, Served], prefix: Sharing, samples: Sharing, steps: StepRun
) -> Iterator[Finding]:
    """Yield every figure: waste and what fits, preemption, sharing, sameness, and the cost of a step."""
    yield from _waste_findings(forms, served)
    yield from _preemption_findings(served)
    yield from _sharing_findings(forms, prefix, samples)
    yield from _sameness_findings(served, prefix, samples, steps)
    ratios = [paged / plain for plain, paged in zip(steps.plain_s, steps.paged_s, strict=True)]
    note = "a decoding step with the paged cache, of the same step with the contiguous one, in turn"
    yield over_rounds("paged_step_ratio", ratios, measured=steps.paged_ratio, note=note)


def _waste_findings(forms: PagedForms, served: dict[str, Served]) -> Iterator[Finding]:
    plain, paged = served["contiguous"], served["paged, swap"]
    for name, one, form in (
        ("contiguous_waste_bytes", plain, forms.contiguous_waste()),
        ("paged_waste_bytes", paged, forms.paged_waste()),
    ):
        count = sum(each.sequences for each in one.run.residents)
        yield Finding(
            name, one.run.waste_bytes, form.value, n=count, formula=form.filled, note="of one sequence, mean over steps"
        )
    for name, one in (("contiguous_waste_share", plain), ("paged_waste_share", paged)):
        yield Finding(name, one.run.waste_share, n=len(one.run.residents), note="of the bytes held, mean over steps")
    for name, one, is_paged in (("contiguous_sequences", plain, False), ("paged_sequences", paged, True)):
        yield Finding(
            name,
            one.run.mean_sequences,
            float(forms.sequences(paged=is_paged)),
            n=len(one.run.residents),
            formula=forms.sequences_filled(paged=is_paged),
            note="decoded at once, mean over the steps at which others waited",
        )
    ratios = [slow / fast for slow, fast in zip(plain.seconds, paged.seconds, strict=True)]
    note = "seconds of the whole queue, contiguous over paged"
    yield over_rounds("queue_speed_up_ratio", ratios, measured=plain.median_s / paged.median_s, note=note)


def _preemption_findings(served: dict[str, Served]) -> Iterator[Finding]:
    swap, again = served["paged, swap"].run, served["paged, recompute"].run
    yield Finding("preemptions", float(swap.preemptions), n=1, note="the pool was full: the latest request had to go")
    yield Finding("swapped_bytes", float(swap.swapped_bytes), n=1, note="copied out of the pool, and back")
    yield Finding("recomputed_tokens", float(again.recomputed_tokens), n=1, note="read again instead of swapped")
    lost = sum(one.run.lost_blocks for one in served.values())
    yield Finding(
        "lost_blocks",
        float(lost),
        0.0,
        n=len(served),
        formula="every block given back",
        note="still held when every queue was done",
    )


def _sharing_findings(forms: PagedForms, prefix: Sharing, samples: Sharing) -> Iterator[Finding]:
    for name, seen, lengths, kept, note in (
        ("prefix", prefix, forms.alike_lengths, True, "requests that begin alike, at the fullest moment"),
        ("samples", samples, forms.sample_lengths, False, "samples of one prompt"),
    ):
        unshared, shared = forms.unshared_bytes(lengths), forms.shared_bytes(lengths, kept=kept)
        told, blocks = f"{len(lengths)} {note}", f"{len(lengths)} × whole blocks for all tokens"
        formula = f"{blocks} = {figure(unshared)} B"
        yield Finding(f"{name}_unshared_bytes", float(seen.unshared_bytes), unshared, n=1, formula=formula, note=told)
        once = "the same, the prefix's whole blocks once" + (" and its last one for itself" if kept else "")
        formula = f"{once} = {figure(shared)} B"
        yield Finding(f"{name}_shared_bytes", float(seen.shared_bytes), shared, n=1, formula=formula, note=told)
    copied = prefix.copied_blocks + samples.copied_blocks
    counts = [forms.copies(len(forms.alike_lengths), kept=True), forms.copies(len(forms.sample_lengths), kept=False)]
    formula = f"writers of the prefix's last block while another holds it = {counts[0]} + {counts[1]} = {sum(counts)}"
    note = "on writing to a block that another still held, prefix and samples together"
    yield Finding("copied_blocks", float(copied), float(sum(counts)), n=1, formula=formula, note=note)


def _sameness_findings(
    served: dict[str, Served], prefix: Sharing, samples: Sharing, steps: StepRun
) -> Iterator[Finding]:
    agreed = [*(one.agreement for one in served.values()), prefix.agreement, samples.agreement]
    note = "largest, paged to contiguous cache, the same batch step by step"
    yield Finding("logit_difference", steps.logit_difference, n=len(steps.paged_s) + 1, note=note)
    note = "largest, queue to each request alone: batches of other sizes round otherwise"
    yield Finding("queue_logit_difference", max(one.logit_difference for one in agreed), n=len(agreed), note=note)
    same = min(one.equal_share for one in agreed)
    note = "of answers with the same tokens as from the contiguous cache, the least of all runs"
    yield Finding("same_tokens_share", same, n=len(agreed), weights_matter=True, note=note)


def queue_table(served: dict[str, Served]) -> Table:
    """Return what each pool made of the queue."""
    columns = ("pool", "held_at_once", "waste_share", "steps", "seconds", "preemptions", "same_tokens_share")
    rows = tuple(
        (
            name,
            round(one.run.mean_sequences, 2),
            round(one.run.waste_share, 4),
            len(one.run.residents),
            round(one.median_s, 4),
            one.run.preemptions,
            one.agreement.equal_share,
        )
        for name, one in served.items()
    )
    return Table("queue", columns, rows, "held at once: requests, mean over the steps at which others waited")


def sharing_table(forms: PagedForms, prefix: Sharing, samples: Sharing) -> Table:
    """Return what sharing saved."""
    columns = ("what", "sequences", "unshared_bytes", "shared_bytes", "saved_share", "copied_blocks")
    rows = tuple(
        (
            name,
            len(lengths),
            one.unshared_bytes,
            one.shared_bytes,
            round(1 - one.shared_bytes / one.unshared_bytes, 4),
            one.copied_blocks,
        )
        for name, one, lengths in (
            ("shared prefix", prefix, forms.alike_lengths),
            ("samples of a prompt", samples, forms.sample_lengths),
        )
    )
    return Table("sharing", columns, rows, f"the shared beginning has {forms.options.prefix_tokens} tokens")
