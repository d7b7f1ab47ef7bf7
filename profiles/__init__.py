"""Measured facts about GPUs, instances, prices and models, and what they predict."""
