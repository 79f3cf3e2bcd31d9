"""Policies: what acts, how it is described, stored and run without torch."""
