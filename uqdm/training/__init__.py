"""What the trainings of all families share: pictures, batches and crops, the loop with its checkpoints and logs."""
