"""Measuring: one module per subject, each of which returns rows of plain numbers for JSON.

Nothing here imports torch or a strategy: a strategy is measured through the context that it is given.
"""
