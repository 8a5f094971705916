"""The parts of conformance.py: goldens read and compared, and the faults of C's CPU code that some of them record."""
