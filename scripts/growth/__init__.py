"""The parts of scaling.py: what grows, the bounded measurement of one size, the exponents, the table and the plots."""
