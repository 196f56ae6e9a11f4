"""GS3: learning rates, schedules and weight decay. Per stream."""
