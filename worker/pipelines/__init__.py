"""One recipe per kind of job."""
