"""Files, prefetching, and collectives of torch.distributed."""
