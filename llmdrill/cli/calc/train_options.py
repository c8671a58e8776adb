"""The options of `llmdrill calc train`."""

from __future__ import annotations

from typing import Annotated

import typer

from llmdrill.cli.calc.train_plan import Method
from llmdrill.estimate.training_memory import Recomputation

Parameters = Annotated[str | None, typer.Option(help="Size of the model in place of --model, such as 70B.")]
Active = Annotated[str | None, typer.Option(help="Parameters that a token passes; default all, or the model's.")]
Tokens = Annotated[str | None, typer.Option(help="Training tokens; default 20 per parameter (--method full only).")]
Budget = Annotated[str | None, typer.Option(help="FLOP to split best between size and data, such as 1e24.")]
Fit = Annotated[str, typer.Option(help="Scaling law: besiroglu (the correction) or hoffmann (as printed).")]
How = Annotated[Method, typer.Option(help="Train all weights, adapters, or adapters on a 4-bit base.")]
Rank = Annotated[str, typer.Option(help="LoRA rank.")]
Targets = Annotated[str | None, typer.Option(help="Matrices with adapters, of q,k,v,o,gate,up,down; default all.")]
Intermediate = Annotated[str | None, typer.Option(help="Width of the MLP, where the model's is not known.")]
OptimizerName = Annotated[
    str, typer.Option(help="adamw, adamw-8bit, adamw-bf16, adamw-fp32, sgd-momentum or sgd (16-bit weights).")
]
Zero = Annotated[str, typer.Option(help="ZeRO stage: 0, 1, 2, or 3 (as FSDP).")]
Data = Annotated[str, typer.Option(help="Data parallelism: copies that see different data.")]
Tensor = Annotated[str, typer.Option(help="Tensor parallelism: devices that share each matrix.")]
Pipeline = Annotated[str, typer.Option(help="Pipeline parallelism: stages that share the layers.")]
Microbatches = Annotated[str | None, typer.Option(help="Parts of a step in the pipeline; default 4 per stage.")]
Sequence = Annotated[str, typer.Option(help="Tokens of a training sequence.")]
MicroBatch = Annotated[str, typer.Option(help="Sequences at once on one device.")]
Recompute = Annotated[
    Recomputation, typer.Option(help="Activations computed twice; selective is what FlashAttention does.")
]
SequenceParallel = Annotated[
    bool, typer.Option("--sequence-parallel", help="Split norms and dropouts over the tensor-parallel devices too.")
]
Memory = Annotated[str | None, typer.Option(help="Memory of one device, such as 48GB; default the accelerator's.")]
Mfu = Annotated[str | None, typer.Option(help="Share of the peak rate that training reaches; assumed 0.4.")]
Rent = Annotated[str | None, typer.Option(help="Rent of one device per hour; default the catalogue's.")]
