"""Plans for GPU clusters: a frozen spec goes in, a checked plan comes out."""
