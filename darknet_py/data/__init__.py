"""Files on the way in: images, lists of names, .data files; no module here knows a model."""
