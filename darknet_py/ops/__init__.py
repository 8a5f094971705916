"""Pure tensor functions: boxes, overlap, suppression."""
