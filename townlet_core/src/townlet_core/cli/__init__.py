"""The command line: one file per command; click lives only here."""
