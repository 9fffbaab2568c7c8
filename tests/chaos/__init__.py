"""Kills and other harm done to the whole service while jobs run through it: `make chaos`."""
