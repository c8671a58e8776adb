"""Closed forms: pure functions with formula, source and error; ``explain_…`` shows one with numbers put in."""
