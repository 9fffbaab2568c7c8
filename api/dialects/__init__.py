"""Vendors' own APIs on Timbre's services: routes that translate, and no rule of their own."""
