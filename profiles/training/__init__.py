"""How long a training step takes and how much memory it needs: models over measured steps, products and collectives."""
