"""The network: its plan, its weights files, its summary."""
