"""Recordings: fetched through egress, decoded in a sandboxed child process."""
