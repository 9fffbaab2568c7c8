"""Schemas of requests and answers, by resource: each checks shape, dumps domain values and describes the API.

Bodies that a vendor's wire form decides, outputs and errors among them, are in `shared/dialects`.
"""
