"""Preparation of training: data sets from any format, new cfgs, edits of cfgs, anchors, and checks."""
