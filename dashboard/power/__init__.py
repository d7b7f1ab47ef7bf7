"""Parts of the power page."""
