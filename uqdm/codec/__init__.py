"""Algorithm 1 between two machines: the loop, the file, whole pictures, and rate control."""
