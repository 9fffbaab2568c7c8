"""What must outlive a job, in SQL."""
