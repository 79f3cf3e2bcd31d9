"""Configurations of the earlier simulator, turned into today's."""

from townlet_core.config.earlier.migrate import Migration, Outcome, is_earlier, migrate

__all__ = ["Migration", "Outcome", "is_earlier", "migrate"]
