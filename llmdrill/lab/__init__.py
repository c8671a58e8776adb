"""Real runs of real small models: the only package that imports torch, and only when a run begins."""

from __future__ import annotations

import os
from typing import Final

# torch's threads wait for their next piece of work by spinning, 300,000 turns long unless told otherwise: some 15 ms in
# which they take a core from whatever runs next. After a prompt that is our own native decode step (measured: up to
# 40 % slower), and beside another busy process it is the prompt itself (4 to 10 times slower). A thirtieth of that
# still bridges the gaps within a pass. It is read once, when torch is loaded, so it is set before; whoever set a policy
# of their own keeps it.
SPIN_TURNS: Final = "10000"
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_TURNS)
