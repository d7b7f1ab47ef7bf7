"""Plans that run: desired against actual, applied step by step, watched and rolled back."""
