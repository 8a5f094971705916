"""Files: images, lists of names, .data files, and how one is replaced; no module here knows a model."""
