"""What the service does under load, each figure beside the one that it is measured against: `make load`."""
