"""Published networks: architectures, weights, download."""
