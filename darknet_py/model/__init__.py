"""The network: its execution plan, weights files, summary, and ONNX export."""
