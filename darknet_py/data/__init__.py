"""Data sets: images, labels, .data files, other formats, augmentation, mini-batches. No module here knows a network."""
