"""Environments as arrays: the contract (`vector`), how a name becomes one (`build`), and the Gymnasium adapter.

Import from the modules, as in `from townlet_core.environments.build import make_environment`.
"""
