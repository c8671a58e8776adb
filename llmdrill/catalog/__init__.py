"""Facts: models, accelerators, prices and measured latencies, each with its source and the date of the copy read."""
