"""Scheduled hand-over between strategies for Townlet; this version registers no strategy yet."""
