"""The first schema: facts, measurements, saved specs and saved plans."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "gpu_types",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("vendor", TEXT, nullable=False),
        sa.Column("architecture", TEXT, nullable=False),
        sa.Column("memory_gib", sa.Double(), nullable=False),
        sa.Column("memory_bandwidth_gb_per_s", sa.Double(), nullable=False),
        sa.Column("bf16_tflops", sa.Double(), nullable=False),
        sa.Column("fp8_tflops", sa.Double(), nullable=True),
        sa.Column("fp4_tflops", sa.Double(), nullable=True),
        sa.Column("int8_tops", sa.Double(), nullable=True),
        sa.Column("tdp_w", sa.Double(), nullable=False),
        sa.Column("idle_w", sa.Double(), nullable=False),
        sa.Column("interconnect", TEXT, nullable=False),
        sa.Column("interconnect_gb_per_s", sa.Double(), nullable=False),
        sa.Column("aliases", sa.JSON(), nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.CheckConstraint(
            "memory_gib > 0 AND memory_bandwidth_gb_per_s > 0 AND bf16_tflops > 0 AND fp8_tflops > 0 AND "
            "fp4_tflops > 0 AND int8_tops > 0 AND tdp_w > 0 AND idle_w > 0 AND interconnect_gb_per_s > 0",
            name=op.f("ck_gpu_types_positive"),
        ),
        sa.PrimaryKeyConstraint("name", name="pk_gpu_types"),
    )
    op.create_table(
        "grid_intensities",
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("region", TEXT, nullable=False),
        sa.Column("g_co2_per_kwh", sa.Double(), nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.CheckConstraint("g_co2_per_kwh >= 0", name=op.f("ck_grid_intensities_not_negative")),
        sa.PrimaryKeyConstraint("provider", "region", name="pk_grid_intensities"),
    )
    op.create_table(
        "models",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("aliases", sa.JSON(), nullable=False),
        sa.Column("num_layers", sa.BigInteger(), nullable=False),
        sa.Column("hidden_size", sa.BigInteger(), nullable=False),
        sa.Column("num_attention_heads", sa.BigInteger(), nullable=False),
        sa.Column("num_kv_heads", sa.BigInteger(), nullable=False),
        sa.Column("head_dim", sa.BigInteger(), nullable=False),
        sa.Column("intermediate_size", sa.BigInteger(), nullable=False),
        sa.Column("vocab_size", sa.BigInteger(), nullable=False),
        sa.Column("num_experts", sa.BigInteger(), nullable=False),
        sa.Column("experts_per_token", sa.BigInteger(), nullable=False),
        sa.Column("num_shared_experts", sa.BigInteger(), nullable=False),
        sa.Column("moe_intermediate_size", sa.BigInteger(), nullable=False),
        sa.Column("num_dense_layers", sa.BigInteger(), nullable=False),
        sa.Column("kv_latent_dim", sa.BigInteger(), nullable=False),
        sa.Column("sliding_window", sa.BigInteger(), nullable=False),
        sa.Column("windowed_layers", sa.BigInteger(), nullable=False),
        sa.Column("num_parameters", sa.Double(), nullable=False),
        sa.Column("num_active_parameters", sa.Double(), nullable=False),
        sa.Column("max_context_tokens", sa.BigInteger(), nullable=False),
        sa.Column("native_precision", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.CheckConstraint(
            "num_layers > 0 AND hidden_size > 0 AND num_parameters > 0 AND num_active_parameters > 0 AND "
            "max_context_tokens > 0",
            name=op.f("ck_models_positive"),
        ),
        sa.PrimaryKeyConstraint("name", name="pk_models"),
    )
    op.create_table(
        "saved_specs",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=True),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_saved_specs"),
    )
    op.create_table(
        "instance_types",
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("gpu", TEXT, nullable=False),
        sa.Column("num_gpus", sa.BigInteger(), nullable=False),
        sa.Column("vcpus", sa.Double(), nullable=True),
        sa.Column("memory_gib", sa.Double(), nullable=True),
        sa.Column("interconnect", TEXT, nullable=True),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.CheckConstraint("num_gpus > 0", name=op.f("ck_instance_types_positive")),
        sa.CheckConstraint("vcpus >= 0 AND memory_gib >= 0", name=op.f("ck_instance_types_not_negative")),
        sa.ForeignKeyConstraint(["gpu"], ["gpu_types.name"], name="fk_instance_types_gpu_types"),
        sa.PrimaryKeyConstraint("provider", "name", name="pk_instance_types"),
    )
    op.create_table(
        "layer_measurements",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("gpu", TEXT, nullable=False),
        sa.Column("num_gpus", sa.BigInteger(), nullable=False),
        sa.Column("phase", TEXT, nullable=False),
        sa.Column("size", sa.Double(), nullable=False),
        sa.Column("ms_per_layer", sa.Double(), nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.CheckConstraint(
            "num_gpus > 0 AND size > 0 AND ms_per_layer > 0", name=op.f("ck_layer_measurements_positive")
        ),
        sa.ForeignKeyConstraint(["gpu"], ["gpu_types.name"], name="fk_layer_measurements_gpu_types"),
        sa.PrimaryKeyConstraint("digest", name="pk_layer_measurements"),
    )
    op.create_table(
        "measurements",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("gpu", TEXT, nullable=False),
        sa.Column("tp", sa.BigInteger(), nullable=False),
        sa.Column("pp", sa.BigInteger(), nullable=False),
        sa.Column("dp", sa.BigInteger(), nullable=False),
        sa.Column("ep", sa.BigInteger(), nullable=False),
        sa.Column("precision", TEXT, nullable=False),
        sa.Column("engine", TEXT, nullable=False),
        sa.Column("engine_version", TEXT, nullable=False),
        sa.Column("load", TEXT, nullable=False),
        sa.Column("task", TEXT, nullable=False),
        sa.Column("input_tokens", sa.Double(), nullable=True),
        sa.Column("output_tokens", sa.Double(), nullable=True),
        sa.Column("concurrency", sa.Double(), nullable=True),
        sa.Column("requests_per_s", sa.Double(), nullable=True),
        sa.Column("output_tokens_per_s", sa.Double(), nullable=True),
        sa.Column("ttft_ms", sa.Double(), nullable=True),
        sa.Column("ttft_p50_ms", sa.Double(), nullable=True),
        sa.Column("ttft_p90_ms", sa.Double(), nullable=True),
        sa.Column("ttft_p99_ms", sa.Double(), nullable=True),
        sa.Column("tpot_ms", sa.Double(), nullable=True),
        sa.Column("tpot_p50_ms", sa.Double(), nullable=True),
        sa.Column("tpot_p90_ms", sa.Double(), nullable=True),
        sa.Column("tpot_p99_ms", sa.Double(), nullable=True),
        sa.Column("itl_p50_ms", sa.Double(), nullable=True),
        sa.Column("itl_p90_ms", sa.Double(), nullable=True),
        sa.Column("itl_p99_ms", sa.Double(), nullable=True),
        sa.Column("e2e_ms", sa.Double(), nullable=True),
        sa.Column("mean_power_w", sa.Double(), nullable=True),
        sa.Column("peak_power_w", sa.Double(), nullable=True),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.CheckConstraint(
            "tp > 0 AND pp > 0 AND dp > 0 AND ep > 0 AND input_tokens > 0 AND output_tokens > 0 AND "
            "concurrency > 0 AND requests_per_s > 0 AND output_tokens_per_s > 0 AND ttft_ms > 0 AND "
            "tpot_ms > 0 AND e2e_ms > 0 AND mean_power_w > 0 AND peak_power_w > 0",
            name=op.f("ck_measurements_positive"),
        ),
        sa.ForeignKeyConstraint(["gpu"], ["gpu_types.name"], name="fk_measurements_gpu_types"),
        sa.PrimaryKeyConstraint("digest", name="pk_measurements"),
    )
    op.create_index("ix_measurements_model_gpu", "measurements", ["model", "gpu"])
    op.create_table(
        "rate_profiles",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("gpu", TEXT, nullable=False),
        sa.Column("num_gpus", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.JSON(), nullable=False),
        sa.Column("output_tokens", sa.JSON(), nullable=False),
        sa.Column("requests_per_s", sa.JSON(), nullable=False),
        sa.Column("usd_per_hour", sa.Double(), nullable=True),
        sa.Column("slo", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.CheckConstraint("num_gpus > 0", name=op.f("ck_rate_profiles_positive")),
        sa.CheckConstraint("usd_per_hour >= 0", name=op.f("ck_rate_profiles_not_negative")),
        sa.ForeignKeyConstraint(["gpu"], ["gpu_types.name"], name="fk_rate_profiles_gpu_types"),
        sa.PrimaryKeyConstraint("name", name="pk_rate_profiles"),
    )
    op.create_table(
        "saved_plans",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("spec_id", TEXT, nullable=False),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("objective", sa.Double(), nullable=True),
        sa.Column("profile_digest", TEXT, nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["spec_id"], ["saved_specs.id"], name="fk_saved_plans_saved_specs"),
        sa.PrimaryKeyConstraint("id", name="pk_saved_plans"),
    )
    op.create_index("ix_saved_plans_created_at_id", "saved_plans", ["created_at", "id"])
    op.create_table(
        "prices",
        sa.Column("provider", TEXT, nullable=False),
        sa.Column("instance_type", TEXT, nullable=False),
        sa.Column("region", TEXT, nullable=False),
        sa.Column("market", TEXT, nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("usd_per_hour", sa.Double(), nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.CheckConstraint("usd_per_hour >= 0", name=op.f("ck_prices_not_negative")),
        sa.ForeignKeyConstraint(
            ["provider", "instance_type"],
            ["instance_types.provider", "instance_types.name"],
            name="fk_prices_instance_types",
        ),
        sa.PrimaryKeyConstraint("provider", "instance_type", "region", "market", "as_of", name="pk_prices"),
    )


def downgrade() -> None:
    op.drop_table("prices")
    op.drop_index("ix_saved_plans_created_at_id", table_name="saved_plans")
    op.drop_table("saved_plans")
    op.drop_table("rate_profiles")
    op.drop_index("ix_measurements_model_gpu", table_name="measurements")
    op.drop_table("measurements")
    op.drop_table("layer_measurements")
    op.drop_table("instance_types")
    op.drop_table("saved_specs")
    op.drop_table("models")
    op.drop_table("grid_intensities")
    op.drop_table("gpu_types")
