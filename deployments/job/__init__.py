"""A JSONL of any size through the pool: the driver that a Ray job runs, or this machine."""
