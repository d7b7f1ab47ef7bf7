"""Measured training steps, and the collectives that they wait for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

ABOVE_ZERO = (
    "num_gpus", "gpus_per_node", "network_gb_per_s", "tp", "pp", "dp", "cp", "ep", "virtual_stages", "micro_batch",
    "global_batch", "sequence_length", "shard", "num_layers", "hidden_size", "num_attention_heads", "num_kv_heads",
    "intermediate_size", "vocab_size", "step_ms", "tokens_per_s_per_gpu",
)  # fmt: skip


def measured() -> list[sa.Column[object]]:
    return [
        sa.Column("source", TEXT, nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("driver", TEXT, server_default=sa.text("''"), nullable=False),
        sa.Column("software", TEXT, server_default=sa.text("''"), nullable=False),
        sa.Column("sm_clock_mhz", sa.Double(), nullable=True),
        sa.Column("temperature_c", sa.Double(), nullable=True),
        sa.Column("power_limit_w", sa.Double(), nullable=True),
    ]


def positive(*columns: str) -> str:
    return " AND ".join(f"{column} > 0" for column in columns)


def upgrade() -> None:
    op.create_table(
        "training_measurements",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("gpu", TEXT, nullable=False),
        sa.Column("num_gpus", sa.BigInteger(), nullable=False),
        sa.Column("gpus_per_node", sa.BigInteger(), nullable=False),
        sa.Column("framework", TEXT, nullable=False),
        sa.Column("framework_version", TEXT, nullable=False),
        sa.Column("network_gb_per_s", sa.Double(), nullable=True),
        sa.Column("tp", sa.BigInteger(), nullable=False),
        sa.Column("pp", sa.BigInteger(), nullable=False),
        sa.Column("dp", sa.BigInteger(), nullable=False),
        sa.Column("cp", sa.BigInteger(), nullable=False),
        sa.Column("ep", sa.BigInteger(), nullable=False),
        sa.Column("virtual_stages", sa.BigInteger(), nullable=False),
        sa.Column("micro_batch", sa.BigInteger(), nullable=False),
        sa.Column("global_batch", sa.BigInteger(), nullable=False),
        sa.Column("sequence_length", sa.BigInteger(), nullable=False),
        sa.Column("precision", TEXT, nullable=False),
        sa.Column("recompute", TEXT, nullable=False),
        sa.Column("zero", sa.BigInteger(), nullable=False),
        sa.Column("shard", sa.BigInteger(), nullable=True),
        sa.Column("sequence_parallel", sa.Boolean(), nullable=False),
        sa.Column("cpu_offload", TEXT, nullable=False),
        sa.Column("num_layers", sa.BigInteger(), nullable=True),
        sa.Column("hidden_size", sa.BigInteger(), nullable=True),
        sa.Column("num_attention_heads", sa.BigInteger(), nullable=True),
        sa.Column("num_kv_heads", sa.BigInteger(), nullable=True),
        sa.Column("intermediate_size", sa.BigInteger(), nullable=True),
        sa.Column("vocab_size", sa.BigInteger(), nullable=True),
        sa.Column("gated_mlp", sa.Boolean(), nullable=False),
        sa.Column("tied_embeddings", sa.Boolean(), nullable=False),
        sa.Column("step_ms", sa.Double(), nullable=True),
        sa.Column("tokens_per_s_per_gpu", sa.Double(), nullable=True),
        *measured(),
        sa.CheckConstraint(positive(*ABOVE_ZERO), name=op.f("ck_training_measurements_positive")),
        sa.CheckConstraint("zero >= 0", name=op.f("ck_training_measurements_not_negative")),
        sa.ForeignKeyConstraint(["gpu"], ["gpu_types.name"], name="fk_training_measurements_gpu_types"),
        sa.PrimaryKeyConstraint("digest", name="pk_training_measurements"),
    )
    op.create_index("ix_training_measurements_model_gpu", "training_measurements", ["model", "gpu"])
    op.create_table(
        "collective_measurements",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("gpu", TEXT, nullable=False),
        sa.Column("operation", TEXT, nullable=False),
        sa.Column("num_gpus", sa.BigInteger(), nullable=False),
        sa.Column("num_nodes", sa.BigInteger(), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("time_us", sa.Double(), nullable=False),
        *measured(),
        sa.CheckConstraint(
            positive("num_gpus", "num_nodes", "num_bytes", "time_us"), name=op.f("ck_collective_measurements_positive")
        ),
        sa.ForeignKeyConstraint(["gpu"], ["gpu_types.name"], name="fk_collective_measurements_gpu_types"),
        sa.PrimaryKeyConstraint("digest", name="pk_collective_measurements"),
    )


def downgrade() -> None:
    op.drop_table("collective_measurements")
    op.drop_index("ix_training_measurements_model_gpu", table_name="training_measurements")
    op.drop_table("training_measurements")
