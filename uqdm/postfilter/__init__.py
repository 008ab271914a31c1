"""A filter of previews in pixels: nearer to the picture than what is synthesised, in integers, off the coding path."""
