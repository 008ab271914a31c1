"""The nested process, the default: all steps refine one partition of the line, and its network works in integers."""
