"""How good a mapping model is on unseen places, and whether its variance is worth reading."""
