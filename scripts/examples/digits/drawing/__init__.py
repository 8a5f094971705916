"""The parts of make_dataset.py: what draws its pictures, from the ink of a character to the camera."""
