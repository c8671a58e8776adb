"""Real runs of real small models: the only package that imports torch, and only when a run begins."""
