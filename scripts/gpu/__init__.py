"""The parts of gpu_check.py, a file each: their figures go to records, from which report.py writes its tables."""
