"""What is known of the machine of a measurement, and sweeps of a GPU itself: matrix products and memory bandwidth."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def machine() -> list[sa.Column[object]]:
    return [
        sa.Column("driver", TEXT, server_default=sa.text("''"), nullable=False),
        sa.Column("software", TEXT, server_default=sa.text("''"), nullable=False),
        sa.Column("sm_clock_mhz", sa.Double(), nullable=True),
        sa.Column("temperature_c", sa.Double(), nullable=True),
        sa.Column("power_limit_w", sa.Double(), nullable=True),
    ]


def provenance() -> list[sa.Column[object]]:
    return [sa.Column("source", TEXT, nullable=False), sa.Column("as_of", sa.Date(), nullable=False)]


def upgrade() -> None:
    for column in machine():
        op.add_column("measurements", column)
    op.create_table(
        "gemm_measurements",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("gpu", TEXT, nullable=False),
        sa.Column("m", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("k", sa.BigInteger(), nullable=False),
        sa.Column("precision", TEXT, nullable=False),
        sa.Column("time_us", sa.Double(), nullable=False),
        sa.Column("mean_power_w", sa.Double(), nullable=True),
        *provenance(),
        *machine(),
        sa.CheckConstraint(
            "m > 0 AND n > 0 AND k > 0 AND time_us > 0 AND mean_power_w > 0",
            name=op.f("ck_gemm_measurements_positive"),
        ),
        sa.ForeignKeyConstraint(["gpu"], ["gpu_types.name"], name="fk_gemm_measurements_gpu_types"),
        sa.PrimaryKeyConstraint("digest", name="pk_gemm_measurements"),
    )
    op.create_table(
        "bandwidth_measurements",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("gpu", TEXT, nullable=False),
        sa.Column("access", TEXT, nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("time_us", sa.Double(), nullable=False),
        sa.Column("mean_power_w", sa.Double(), nullable=True),
        *provenance(),
        *machine(),
        sa.CheckConstraint(
            "num_bytes > 0 AND time_us > 0 AND mean_power_w > 0",
            name=op.f("ck_bandwidth_measurements_positive"),
        ),
        sa.ForeignKeyConstraint(["gpu"], ["gpu_types.name"], name="fk_bandwidth_measurements_gpu_types"),
        sa.PrimaryKeyConstraint("digest", name="pk_bandwidth_measurements"),
    )


def downgrade() -> None:
    op.drop_table("bandwidth_measurements")
    op.drop_table("gemm_measurements")
    for column in reversed(machine()):
        op.drop_column("measurements", column.name)
