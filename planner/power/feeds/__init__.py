"""Where servers go on feeds, PDUs, rows and phases, so that no budget is exceeded by more than a small chance."""
