"""GS3: the learning rate, its schedule, weight decay."""
