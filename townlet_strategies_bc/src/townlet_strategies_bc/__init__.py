"""Behaviour cloning for Townlet; this version registers no strategy yet."""
