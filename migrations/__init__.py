"""Alembic migrations, inside the wheel: ``gpuplan init`` runs them without an ``alembic.ini``."""
