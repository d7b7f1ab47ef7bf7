"""What alembic runs: on the connection that ``profiles.db`` hands over, inside its transaction.

To write a migration after changing a ``tables.py``, in a directory with an up-to-date ``gpuplan.db``::

    alembic --config migrations/alembic.ini revision --autogenerate --rev-id 0002 --message "what it does"

then raise ``SCHEMA_REVISION`` in ``profiles/db.py``; ``tests/test_migrations.py`` says what is still missing.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine

import api.tables  # noqa: F401  its tables join the metadata, and planner's with them
from profiles.tables import Base


def migrate(connection: Connection) -> None:
    # SQLite cannot alter a table in place: batch mode copies it.
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    migrate(handed_over)
else:  # alembic called by hand
    with create_engine(context.config.get_main_option("sqlalchemy.url", "")).begin() as own:
        migrate(own)
