"""What the user asks for: frozen settings, where they come from, and errors that name the key.

`SimulationConfig` (in `root`) is the whole configuration, `load_config` (in `load`) reads it from a file, the
environment and the command line. Import the modules themselves: this package re-exports nothing, so naming it imports
no pydantic.
"""
