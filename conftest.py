"""Leave the doctests of modules that cannot be imported here out of the run, and let waiting threads sleep."""

from __future__ import annotations

import importlib.util
import os

# Tests run two at a time, each with torch's threads: threads that spin while they wait take the cores from the others.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["llmdrill/lab/*.py", "training/*.py"]
