"""Leave the doctests of modules that cannot be imported here out of the run."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["llmdrill/lab/*.py", "training/*.py"]
