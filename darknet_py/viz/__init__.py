"""Drawing of boxes, and figures."""
