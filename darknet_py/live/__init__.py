"""Video: sources of frames, detection in them as they come, and where results go: files, windows, network streams."""
