"""Environments as arrays: the contract (`vector`), how a name becomes one (`build`), and the Gymnasium adapter.

Import from the modules: `townlet_core.environments.vector.VectorEnvironment`, `townlet_core.environments.build.make_environment`.
"""
