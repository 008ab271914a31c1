"""From a picture to the source X that a process sends, and back."""
