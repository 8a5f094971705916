"""The parts of coco_eval.py: COCO's files fetched and checked, and the figures compared with those expected."""
