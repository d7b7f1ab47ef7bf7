"""Parts of the experts page."""
